-- The inventory of an event, what everybody sees of events and seats, and cancelled events.

-- One row for each event, from its first moment until its deletion. Every transaction that changes
-- the inventory (locks, frees or books seats, changes quantities) updates the row first. That makes
-- it the mutex of the inventory: two transactions never wait for each other in a circle. The
-- version orders the broadcasts about seats. Half of each page is free for new versions of rows.
CREATE TABLE event_inventory (
    event_id INTEGER PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE,
    version BIGINT NOT NULL DEFAULT 1
) WITH (fillfactor = 50);

CREATE FUNCTION events_have_inventory() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO event_inventory (event_id) VALUES (NEW.id);
    RETURN NULL;
END $$;
-- The trigger first: it waits for events that are being created, so that none comes between it and
-- the rows for those that exist.
CREATE TRIGGER events_have_inventory AFTER INSERT ON events
    FOR EACH ROW EXECUTE FUNCTION events_have_inventory();
INSERT INTO event_inventory (event_id) SELECT id FROM events ORDER BY id;

-- What can be had of a seat type now. A lock that has run out counts as free, whether or not the
-- expiry worker has tidied it up.
CREATE VIEW seat_availability AS
SELECT t.id AS seat_type_id,
       t.event_id,
       t.quantity,
       t.available_quantity + (
           SELECT count(*)::integer FROM seats s
           WHERE s.event_seat_type_id = t.id AND s.status = 'locked' AND s.expires_at <= now()
       ) AS available
FROM event_seat_types t;

-- An event as everybody sees it: with its organiser and what is left of its seats.
CREATE VIEW event_overview AS
SELECT e.id, e.name, e.description, e.start_date, e.end_date, e.image_url, e.location, e.venue_name,
       e.organizer_id, e.status, e.is_public,
       coalesce(e.max_tickets_per_user, 10) AS max_tickets_per_user, e.created_at, e.updated_at,
       u.name AS organizer_name, u.email AS organizer_email,
       coalesce(seats.total, 0) AS total_seats, coalesce(seats.available, 0) AS available_seats
FROM events e
JOIN users u ON u.id = e.organizer_id
LEFT JOIN LATERAL (
    SELECT sum(quantity) AS total, sum(available) AS available
    FROM seat_availability WHERE event_id = e.id
) seats ON TRUE;

-- An organiser cancels an event: a job cancels and refunds every booking, some at a time. It can be
-- interrupted anywhere.
CREATE TABLE event_cancellations (
    event_id INTEGER PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE,
    begun_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- No booking and no lock is left. Refunds may still be under way.
    finished_at TIMESTAMPTZ
);

-- Buyers are told by e-mail and SMS that their booking is cancelled. Their event may be deleted
-- before they have been, with its bookings; what they are to be told is then kept here.
CREATE TABLE cancellation_notices (
    -- Of a booking that is gone: there is nothing to refer to.
    booking_id INTEGER PRIMARY KEY,
    -- The buyer, who is told at the address and number that they have when it is sent.
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    booking_reference TEXT NOT NULL,
    event_name TEXT NOT NULL,
    event_start TIMESTAMPTZ NOT NULL,
    reason TEXT,
    kept_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
-- Serves: the deletion of an account.
CREATE INDEX cancellation_notices_of_user ON cancellation_notices (user_id);
-- Serves: the cleanup job, which removes those that are older than any job that would send them.
CREATE INDEX cancellation_notices_by_age ON cancellation_notices (kept_at);
