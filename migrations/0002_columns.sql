-- What the tables of the Node service get, and what its new rows obey from now on. The repair comes
-- after the rules, so that the Node service cannot break again what has been repaired.
--
-- Locks: nobody can use these tables while this file runs, which takes milliseconds, as it reads no
-- row: rules are NOT VALID until 0012. Every lock is taken at the start, so that a migration that
-- has to wait has not done any work yet.
LOCK TABLE bookings, seats, booking_seats, tickets, users IN ACCESS EXCLUSIVE MODE;

ALTER TABLE users
    -- What users may do beyond their own affairs: all of them buy, organisers create events where
    -- EVENT_CREATION=organisers, admins operate the installation.
    ADD COLUMN role TEXT NOT NULL DEFAULT 'user',
    -- Access tokens that were issued before this moment are revoked: since a password reset, or
    -- since the user has logged out everywhere.
    ADD COLUMN sessions_valid_from TIMESTAMPTZ,
    -- Since when a one-time password has proved the phone number; only such numbers get SMS about
    -- bookings. The Node service did not record which numbers were proved. Those that exist count
    -- as proved, because their owners have had SMS until now, and some of them nothing else.
    ADD COLUMN phone_verified_at TIMESTAMPTZ DEFAULT now(),
    -- Rule: there are three roles.
    ADD CONSTRAINT users_role_check CHECK (role IN ('user', 'organiser', 'admin')) NOT VALID;
ALTER TABLE users ALTER COLUMN phone_verified_at DROP DEFAULT;

ALTER TABLE bookings
    -- The job that makes the tickets: confirm_booking tells the buyer, who asks ticket-status about
    -- it.
    ADD COLUMN finalisation_job UUID,
    -- The booking was cancelled together with its event. That is counted, and cannot be undone.
    ADD COLUMN cancelled_with_event BOOLEAN NOT NULL DEFAULT FALSE,
    -- Rules: the states of a booking and of its payment.
    ADD CONSTRAINT bookings_status_check
        CHECK (status IN ('pending', 'confirmed', 'cancelled', 'expired')) NOT VALID,
    ADD CONSTRAINT bookings_payment_status_check
        CHECK (payment_status IN ('pending', 'failed', 'completed', 'refunded', 'cancelled'))
        NOT VALID,
    -- Rule: the total is an amount of money.
    ADD CONSTRAINT bookings_total_check
        CHECK (total_amount >= 0 AND total_amount <> 'NaN') NOT VALID,
    -- Rule: a confirmed booking says since when.
    ADD CONSTRAINT bookings_confirmed_check
        CHECK (status <> 'confirmed' OR confirmed_at IS NOT NULL) NOT VALID;

-- A seat that is given back loses its row, but a payment that arrives late takes the same seats
-- again if they are still free. So a booking remembers its seats by type and label, too.
ALTER TABLE booking_seats
    ADD COLUMN event_seat_type_id INTEGER,
    ADD COLUMN seat_label VARCHAR(20),
    ALTER COLUMN seat_id DROP NOT NULL;

ALTER TABLE tickets
    -- The random part of the text in the QR code, which a key has signed. NULL: the QR code is one
    -- of the Node service, which nobody has signed.
    ADD COLUMN qr_nonce BIGINT,
    -- The id of the key.
    ADD COLUMN qr_key TEXT,
    -- Rule: the states of a ticket.
    ADD CONSTRAINT tickets_status_check
        CHECK (status IN (
            'pending', 'generated', 'sent', 'delivered', 'failed', 'cancelled', 'used')) NOT VALID;

-- The seats of bookings and tickets may go; the bookings and tickets stay.
DO $$
DECLARE
    reference RECORD;
BEGIN
    FOR reference IN
        SELECT conname, conrelid::regclass AS referring FROM pg_constraint
        WHERE contype = 'f' AND confrelid = 'seats'::regclass
          AND conrelid IN ('booking_seats'::regclass, 'tickets'::regclass)
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', reference.referring, reference.conname);
    END LOOP;
END $$;
ALTER TABLE booking_seats ADD CONSTRAINT booking_seats_seat_fkey
    FOREIGN KEY (seat_id) REFERENCES seats (id) ON DELETE SET NULL NOT VALID;
ALTER TABLE tickets ADD CONSTRAINT tickets_seat_fkey
    FOREIGN KEY (seat_id) REFERENCES seats (id) ON DELETE SET NULL NOT VALID;

-- The Node service inserts a link without type and label, and lets the seat's lock run out before
-- the booking's deadline. Nexus leaves both to this trigger, too.
CREATE FUNCTION booking_seats_remember_seat() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE seats s SET expires_at = b.expires_at FROM bookings b
    WHERE s.id = NEW.seat_id AND b.id = NEW.booking_id AND s.status = 'locked'
      AND s.expires_at < b.expires_at;
    SELECT event_seat_type_id, seat_label INTO NEW.event_seat_type_id, NEW.seat_label
    FROM seats WHERE id = NEW.seat_id;
    RETURN NEW;
END $$;
CREATE TRIGGER booking_seats_remember_seat BEFORE INSERT ON booking_seats
    FOR EACH ROW WHEN (NEW.seat_label IS NULL) EXECUTE FUNCTION booking_seats_remember_seat();
