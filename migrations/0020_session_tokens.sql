-- Locks: who logs in or refreshes a session waits for as long as refresh_tokens is read twice, a
-- second with a million rows.
ALTER TABLE refresh_tokens VALIDATE CONSTRAINT refresh_tokens_session_id_fkey;
-- Serves: the tokens of a session, which end with it.
CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id) WHERE session_id IS NOT NULL;
