-- Who may do what, from where users log in, and requests that may be sent twice.

-- Append-only, and outlives the account.
CREATE TABLE role_changes (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id INTEGER NOT NULL,
    role_before TEXT NOT NULL,
    role_after TEXT NOT NULL,
    -- The operator's name in PostgreSQL: give each their own.
    changed_by TEXT NOT NULL DEFAULT session_user,
    changed_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- Rule: there are three roles.
    CONSTRAINT role_changes_roles_check CHECK (
        role_before IN ('user', 'organiser', 'admin')
        AND role_after IN ('user', 'organiser', 'admin'))
);
-- Serves: show-account.
CREATE INDEX role_changes_user ON role_changes (user_id);

-- Networks from which somebody has proved to be a user: an IPv4 address, or an IPv6 /64. Wrong
-- passwords and codes from there are counted apart, so that those of strangers do not keep the
-- user out.
CREATE TABLE login_networks (
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    network TEXT NOT NULL,
    last_login_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, network)
);
-- Serves: the cleanup job, which removes old ones.
CREATE INDEX login_networks_last_login ON login_networks (last_login_at);

-- The responses to requests with an Idempotency-Key, and those requests that are being worked on.
CREATE TABLE idempotent_requests (
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- The operation's name: its path is part of the hash.
    route TEXT NOT NULL,
    key TEXT NOT NULL,
    -- SHA-256 of path and body: a key belongs to one request.
    request_hash BYTEA NOT NULL,
    -- The attempt that works on it. When its lease has run out, the next request with the key takes
    -- over.
    attempt UUID NOT NULL,
    leased_until TIMESTAMPTZ NOT NULL,
    -- NULL until there is a response.
    status SMALLINT,
    answer JSONB,
    expires_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (user_id, route, key),
    -- Rule: a response has a status and a body.
    CONSTRAINT idempotent_requests_answer_check CHECK ((status IS NULL) = (answer IS NULL))
);
-- Serves: the cleanup job, which removes what has expired.
CREATE INDEX idempotent_requests_expiring ON idempotent_requests (expires_at);
