-- Tokens are kept as 'sha256:' and the hash in hexadecimal, unless the Node service has to find them (SIDE_BY_SIDE=on); see docs/authorisation.md.
-- The cleanup job hashes what that service has left behind.

-- Serve: the cleanup job, which would read the whole tables every time to find nothing.
CREATE INDEX refresh_tokens_raw ON refresh_tokens (id) WHERE token NOT LIKE 'sha256:%';
CREATE INDEX blacklisted_tokens_raw ON blacklisted_tokens (id) WHERE token NOT LIKE 'sha256:%';
