-- What a booking remembers, and the rules for its states.

-- Freed seats lose their row, but a payment that arrives late takes the same seats again if they are still free
-- (ARCHITECTURE.md, payments): so a booking remembers its seats by type and label, not only by row.
ALTER TABLE booking_seats
    ADD COLUMN event_seat_type_id INTEGER,
    ADD COLUMN seat_label VARCHAR(20),
    ALTER COLUMN seat_id DROP NOT NULL;
UPDATE booking_seats bs SET event_seat_type_id = s.event_seat_type_id, seat_label = s.seat_label
FROM seats s WHERE s.id = bs.seat_id;

-- The Node service does not know the two columns; this fills them for its rows.
CREATE FUNCTION booking_seats_remember_seat() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    SELECT event_seat_type_id, seat_label INTO NEW.event_seat_type_id, NEW.seat_label FROM seats WHERE id = NEW.seat_id;
    RETURN NEW;
END $$;
CREATE TRIGGER booking_seats_remember_seat BEFORE INSERT ON booking_seats
    FOR EACH ROW WHEN (NEW.seat_label IS NULL) EXECUTE FUNCTION booking_seats_remember_seat();

DO $$
DECLARE
    reference RECORD;
BEGIN
    FOR reference IN
        SELECT conname, conrelid::regclass AS tab FROM pg_constraint
        WHERE contype = 'f' AND confrelid = 'seats'::regclass
          AND conrelid IN ('booking_seats'::regclass, 'tickets'::regclass)
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', reference.tab, reference.conname);
    END LOOP;
END $$;
ALTER TABLE booking_seats ADD CONSTRAINT booking_seats_seat_fkey FOREIGN KEY (seat_id) REFERENCES seats (id) ON DELETE SET NULL;
ALTER TABLE tickets ADD CONSTRAINT tickets_seat_fkey FOREIGN KEY (seat_id) REFERENCES seats (id) ON DELETE SET NULL;

-- A seat belongs to one booking. Two could race for it: a confirmed booking (else the oldest) keeps it.
UPDATE booking_seats loser SET seat_id = NULL
FROM bookings lb
WHERE lb.id = loser.booking_id AND EXISTS (
    SELECT 1 FROM booking_seats winner JOIN bookings wb ON wb.id = winner.booking_id
    WHERE winner.seat_id = loser.seat_id
      AND (wb.status <> 'confirmed', winner.id) < (lb.status <> 'confirmed', loser.id)
);
-- Serves: "is this seat already linked to a booking?", decided at insert.
CREATE UNIQUE INDEX booking_seats_seat_key ON booking_seats (seat_id) WHERE seat_id IS NOT NULL;

-- A cancelled booking that nobody had paid said 'refunded' (CONTRACT.md, section 10, row 11).
UPDATE bookings SET payment_status = 'cancelled'
WHERE status = 'cancelled' AND payment_status = 'refunded' AND (payment_id IS NULL OR payment_id LIKE 'order\_%');
UPDATE bookings SET total_amount = 0, status = 'cancelled', payment_status = 'cancelled' WHERE total_amount = 'NaN';
UPDATE bookings SET expires_at = booked_at + interval '15 minutes' WHERE expires_at IS NULL;

ALTER TABLE bookings
    ADD CONSTRAINT bookings_status_check
        CHECK (status IN ('pending', 'confirmed', 'cancelled', 'expired')) NOT VALID,
    ADD CONSTRAINT bookings_payment_status_check
        CHECK (payment_status IN ('pending', 'failed', 'completed', 'refunded', 'cancelled')) NOT VALID,
    ADD CONSTRAINT bookings_total_check CHECK (total_amount >= 0 AND total_amount <> 'NaN') NOT VALID,
    ADD CONSTRAINT bookings_confirmed_check CHECK (status <> 'confirmed' OR confirmed_at IS NOT NULL) NOT VALID;
-- Serves: the expiry worker's search for unpaid bookings past their deadline.
CREATE INDEX bookings_expiring ON bookings (expires_at) WHERE status = 'pending';
-- Serves: my-bookings, newest first.
CREATE INDEX bookings_of_user ON bookings (user_id, booked_at DESC, id DESC);

-- One ticket per seat of a booking, however often its finalisation runs.
DELETE FROM tickets t USING tickets earlier
WHERE earlier.booking_id = t.booking_id AND earlier.seat_id = t.seat_id AND earlier.id < t.id;
CREATE UNIQUE INDEX tickets_booking_seat_key ON tickets (booking_id, seat_id);
ALTER TABLE tickets ADD CONSTRAINT tickets_status_check
    CHECK (status IN ('pending', 'generated', 'sent', 'delivered', 'failed', 'cancelled', 'used')) NOT VALID;

-- Serve: the cleanup job.
CREATE INDEX refresh_tokens_expiring ON refresh_tokens (expires_at);
CREATE INDEX blacklisted_tokens_expiring ON blacklisted_tokens (expires_at);
CREATE INDEX idempotency_keys_expiring ON idempotency_keys (expires_at);
-- Serves: looking at refresh tokens by value, where an existing installation has no index for it.
CREATE INDEX IF NOT EXISTS refresh_tokens_token_idx ON refresh_tokens (token);
CREATE INDEX IF NOT EXISTS refresh_tokens_user_id_idx ON refresh_tokens (user_id);
CREATE INDEX IF NOT EXISTS event_seat_types_event_id_idx ON event_seat_types (event_id);
CREATE INDEX IF NOT EXISTS bookings_event_id_idx ON bookings (event_id);
CREATE INDEX IF NOT EXISTS bookings_payment_id_idx ON bookings (payment_id);
CREATE INDEX IF NOT EXISTS events_organizer_id_idx ON events (organizer_id);
CREATE INDEX IF NOT EXISTS tickets_booking_id_idx ON tickets (booking_id);
CREATE INDEX IF NOT EXISTS events_created_at_idx ON events (created_at);
