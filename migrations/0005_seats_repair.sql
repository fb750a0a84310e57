-- Repairs events, seat types and seats, and gives them the rules that no code path can break, old
-- or new: no seat is sold twice. The repair takes no seat from a buyer who has paid for it.
--
-- Locks: nobody can use these tables while this file runs, a few seconds for a million seats. The
-- counts of seats are right only while nobody takes or frees one.
LOCK TABLE seats, event_seat_types, events IN ACCESS EXCLUSIVE MODE;

-- The Node service accepted any status. Such an event was never on sale, which is what a draft is.
UPDATE events SET status = 'draft'
WHERE status NOT IN ('draft', 'published', 'cancelled', 'completed');
UPDATE events SET max_tickets_per_user = 10
WHERE max_tickets_per_user IS NULL OR max_tickets_per_user < 1;
ALTER TABLE events
    -- Rule: the states of an event.
    ADD CONSTRAINT events_status_check
        CHECK (status IN ('draft', 'published', 'cancelled', 'completed')),
    -- Rule: everybody may buy a ticket.
    ADD CONSTRAINT events_max_tickets_check CHECK (max_tickets_per_user >= 1),
    -- Rule: an event does not end before it starts. Old ones may, until their organiser mends
    -- them: this rule stays NOT VALID.
    ADD CONSTRAINT events_dates_check CHECK (end_date >= start_date) NOT VALID;

-- Without a rule a seat could be given out twice: the booked row keeps it, else the older one.
-- Other buyers who have paid keep a seat, too, under a label of its own, for an operator to look
-- at. Buyers who have not paid give it back. Their booking remembers its label: should they pay,
-- they get the seat if it is free by then, and their money back if it is not.
CREATE TEMPORARY TABLE doubled ON COMMIT DROP AS
SELECT id, status FROM (
    SELECT id, status, row_number() OVER (
        PARTITION BY event_seat_type_id, seat_label ORDER BY status <> 'booked', id) AS n
    FROM seats) seat
WHERE n > 1;
DELETE FROM seats USING doubled WHERE doubled.id = seats.id AND doubled.status = 'locked';
WITH renamed AS (
    UPDATE seats s SET seat_label = left(s.seat_label, 19 - length(s.id::text)) || 'D' || s.id
    FROM doubled WHERE doubled.id = s.id
    RETURNING s.id, s.seat_label
)
UPDATE booking_seats bs SET seat_label = renamed.seat_label
FROM renamed WHERE renamed.id = bs.seat_id;

-- A label is unique within its seat type: VIP A1 and Balcony A1 are two seats. The old rule, where
-- there was one, was per event.
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
ALTER TABLE seats
    -- Rule: a seat is given out once. Serves: every lock (ON CONFLICT), "is this seat taken?", and
    -- the seats of a type.
    ADD CONSTRAINT seats_type_label_key UNIQUE (event_seat_type_id, seat_label),
    -- Rule: the states of a seat; a free one has no row.
    ADD CONSTRAINT seats_status_check CHECK (status IN ('locked', 'booked')) NOT VALID,
    -- Rule: every lock runs out.
    ADD CONSTRAINT seats_lock_has_deadline
        CHECK (status <> 'locked' OR expires_at IS NOT NULL) NOT VALID;

-- Nothing more is sold of a type whose price is none, until its organiser sets price and quantity.
UPDATE event_seat_types SET price = 0, quantity = 0, available_quantity = 0
WHERE price = 'NaN' OR price < 0;
-- The counts drifted: locked seats were forgotten, and types were oversold. What is taken stays so.
UPDATE event_seat_types t
SET quantity = greatest(t.quantity, taken.n),
    available_quantity = greatest(t.quantity, taken.n) - taken.n
FROM (
    SELECT type.id, count(seat.id)::integer AS n
    FROM event_seat_types type LEFT JOIN seats seat ON seat.event_seat_type_id = type.id
    GROUP BY type.id
) taken
WHERE taken.id = t.id
  AND (t.available_quantity <> t.quantity - taken.n OR t.quantity < taken.n);
ALTER TABLE event_seat_types
    -- Rules: quantity and price are no less than nothing, and a price is a number.
    ADD CONSTRAINT seat_types_quantity_check CHECK (quantity >= 0),
    ADD CONSTRAINT seat_types_price_check CHECK (price >= 0 AND price <> 'NaN'),
    -- Rule: no more is sold than there is.
    ADD CONSTRAINT seat_types_available_check
        CHECK (available_quantity BETWEEN 0 AND quantity);

-- When the Node service changes a quantity, it counts what is booked and forgets what is locked:
-- its count would sell locked seats again. A quantity below what is taken breaks the rule above.
CREATE FUNCTION seat_types_count_available() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.available_quantity := NEW.quantity
        - (SELECT count(*) FROM seats WHERE event_seat_type_id = NEW.id);
    RETURN NEW;
END $$;
CREATE TRIGGER seat_types_count_available BEFORE UPDATE OF quantity ON event_seat_types
    FOR EACH ROW EXECUTE FUNCTION seat_types_count_available();
