-- The rules of the seat inventory, enforced by the database so that no code path, old or new, can sell a seat twice.
-- An existing database may already break them (CONTRACT.md, section 10, rows 5, 6 and 9), so each rule is preceded by its repair;
-- a repair never gives a seat away and never takes one from somebody who paid.

-- A label is unique within its seat type: VIP-A1 and Standard-A1 are two seats. The old rule was per event, where it existed.
DO $$
DECLARE
    old_rule RECORD;
BEGIN
    FOR old_rule IN
        SELECT conname FROM pg_constraint
        WHERE conrelid = 'seats'::regclass AND contype = 'u'
          AND pg_get_constraintdef(oid) = 'UNIQUE (event_id, seat_label)'
    LOOP
        EXECUTE format('ALTER TABLE seats DROP CONSTRAINT %I', old_rule.conname);
    END LOOP;
END $$;

-- Without any rule, one seat may have been given out twice: the booked (else the oldest) row keeps the label, the others are renamed,
-- so that every holder still has a row that an operator can look at.
UPDATE seats loser
SET seat_label = left(loser.seat_label, 19 - length(loser.id::text)) || 'D' || loser.id
WHERE EXISTS (
    SELECT 1 FROM seats winner
    WHERE winner.event_seat_type_id = loser.event_seat_type_id
      AND winner.seat_label = loser.seat_label
      AND (winner.status <> 'booked', winner.id) < (loser.status <> 'booked', loser.id)
);
-- Serves: every lock (ON CONFLICT), and "is this seat taken?".
ALTER TABLE seats ADD CONSTRAINT seats_type_label_key UNIQUE (event_seat_type_id, seat_label);

ALTER TABLE seats
    ADD CONSTRAINT seats_status_check CHECK (status IN ('locked', 'booked')) NOT VALID,
    ADD CONSTRAINT seats_lock_has_deadline CHECK (status <> 'locked' OR expires_at IS NOT NULL) NOT VALID;

-- Serves: purging expired locks of the seat types that a lock touches, and the expiry worker's search for the next deadline.
CREATE INDEX seats_expiring ON seats (expires_at) WHERE status = 'locked';
-- Serves: max_tickets_per_user, counted at every lock.
CREATE INDEX seats_holder ON seats (event_id, user_id);

-- NaN and negative prices could be stored. Nothing more is sold of such a seat type until its organiser sets a price and a quantity.
UPDATE event_seat_types SET price = 0, quantity = 0, available_quantity = 0
WHERE price = 'NaN' OR price < 0;

-- Counts that drifted (locked seats forgotten, oversold types): available = quantity - locked - booked, and quantity covers what is taken.
UPDATE event_seat_types t
SET quantity = greatest(t.quantity, taken.n, 0),
    available_quantity = greatest(t.quantity, taken.n, 0) - taken.n
FROM (
    SELECT type.id, count(seat.id)::integer AS n
    FROM event_seat_types type LEFT JOIN seats seat ON seat.event_seat_type_id = type.id
    GROUP BY type.id
) taken
WHERE taken.id = t.id
  AND (t.available_quantity <> t.quantity - taken.n OR t.quantity < taken.n OR t.quantity < 0);

ALTER TABLE event_seat_types
    ADD CONSTRAINT seat_types_quantity_check CHECK (quantity >= 0),
    ADD CONSTRAINT seat_types_available_check CHECK (available_quantity BETWEEN 0 AND quantity),
    ADD CONSTRAINT seat_types_price_check CHECK (price >= 0 AND price <> 'NaN');

-- Made-up statuses were accepted; an event with one was never on sale, which is what a draft is.
UPDATE events SET status = 'draft' WHERE status NOT IN ('draft', 'published', 'cancelled', 'completed');
UPDATE events SET max_tickets_per_user = 10 WHERE max_tickets_per_user IS NULL OR max_tickets_per_user < 1;
ALTER TABLE events
    ADD CONSTRAINT events_status_check CHECK (status IN ('draft', 'published', 'cancelled', 'completed')),
    ADD CONSTRAINT events_max_tickets_check CHECK (max_tickets_per_user >= 1),
    -- Old rows may end before they start; new ones may not.
    ADD CONSTRAINT events_dates_check CHECK (end_date >= start_date) NOT VALID;

-- One row per event that has seen a lock: whoever changes the inventory of an event (locks, frees or books seats, changes quantities)
-- updates it first, which makes it the mutex of that inventory. Two transactions can then never wait for each other in a circle.
-- The version orders event:seats-update broadcasts.
CREATE TABLE event_inventory (
    event_id INTEGER PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE,
    version BIGINT NOT NULL DEFAULT 1
) WITH (fillfactor = 50);

-- What can be had of a seat type now. A lock whose deadline has passed counts as free, whether or not somebody has tidied it up.
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
SELECT e.id, e.name, e.description, e.start_date, e.end_date, e.image_url, e.location, e.venue_name, e.organizer_id, e.status, e.is_public,
       coalesce(e.max_tickets_per_user, 10) AS max_tickets_per_user, e.created_at, e.updated_at,
       u.name AS organizer_name, u.email AS organizer_email,
       coalesce(seats.total, 0) AS total_seats, coalesce(seats.available, 0) AS available_seats
FROM events e
JOIN users u ON u.id = e.organizer_id
LEFT JOIN LATERAL (
    SELECT sum(quantity) AS total, sum(available) AS available FROM seat_availability WHERE event_id = e.id
) seats ON TRUE;
