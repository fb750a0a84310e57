-- Buyers are told by e-mail and SMS that their booking is cancelled. An event may be deleted, with its bookings, before they have been: then
-- what they are to be told is kept here.

CREATE TABLE cancellation_notices (
    -- Of a booking that is gone: there is nothing to refer to.
    booking_id INTEGER PRIMARY KEY,
    -- Whom to tell; at the address or number that they have when it is sent.
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    booking_reference TEXT NOT NULL,
    event_name TEXT NOT NULL,
    event_start TIMESTAMPTZ NOT NULL,
    reason TEXT,
    kept_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- Serves: the deletion of a user.
CREATE INDEX cancellation_notices_of_user ON cancellation_notices (user_id);

-- Serves: removing those that are older than any job that would send them.
CREATE INDEX cancellation_notices_by_age ON cancellation_notices (kept_at);
