-- The sessions that logins have opened. The tokens of a session share its id (`sid`), so that all
-- of them end with it.
--
-- Locks: nobody can use refresh_tokens, for milliseconds: no row is read.
CREATE TABLE sessions (
    id UUID PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- When it last got tokens.
    last_used_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- When its last refresh token expires.
    expires_at TIMESTAMPTZ NOT NULL,
    ended_at TIMESTAMPTZ,
    -- For its user, who has to recognise it: what the client calls itself, and its network, as in
    -- login_networks.
    user_agent TEXT,
    network TEXT NOT NULL
);
-- Serves: the sessions of a user, which they see and end.
CREATE INDEX sessions_user ON sessions (user_id);
-- Serves: the cleanup job, which removes what has expired.
CREATE INDEX sessions_expiring ON sessions (expires_at);

ALTER TABLE refresh_tokens
    -- NULL for tokens from before, and those of the Node service, which are sessions by themselves.
    ADD COLUMN session_id UUID,
    -- Since when another token has replaced it. Whoever uses it later has stolen it, or the other.
    ADD COLUMN rotated_at TIMESTAMPTZ,
    ADD CONSTRAINT refresh_tokens_session_id_fkey
        FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE NOT VALID;
