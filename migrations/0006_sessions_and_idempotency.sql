-- Sessions that end together, requests that may be sent twice, and the job that makes a booking's tickets.

-- Access tokens that were issued before this moment are revoked: after a password reset, or when a user logs out everywhere.
ALTER TABLE users ADD COLUMN sessions_valid_from TIMESTAMPTZ;

-- Answers to requests with an Idempotency-Key, and those that are still being worked on.
CREATE TABLE idempotent_requests (
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- Method and pattern of the path: ids in the path count as part of the request.
    route TEXT NOT NULL,
    key TEXT NOT NULL,
    -- A key belongs to one request: SHA-256 of its body and path.
    request_hash BYTEA NOT NULL,
    -- Whoever works on it. Once leased_until has passed, the next request with the key takes over.
    attempt UUID NOT NULL,
    leased_until TIMESTAMPTZ NOT NULL,
    -- Null until it has been answered.
    status SMALLINT,
    answer JSONB,
    expires_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (user_id, route, key),
    CONSTRAINT idempotent_requests_answer_check CHECK ((status IS NULL) = (answer IS NULL))
);
-- Serves: the cleanup job.
CREATE INDEX idempotent_requests_expiring ON idempotent_requests (expires_at);

-- What confirm_booking tells the buyer, and ticket-status is asked about.
ALTER TABLE bookings ADD COLUMN finalisation_job UUID;
