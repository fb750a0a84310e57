-- Existing rows obey the rules, too. Reads each table while others write to it.

ALTER TABLE users VALIDATE CONSTRAINT users_role_check;
ALTER TABLE seats
    VALIDATE CONSTRAINT seats_status_check,
    VALIDATE CONSTRAINT seats_lock_has_deadline;
ALTER TABLE bookings
    VALIDATE CONSTRAINT bookings_status_check,
    VALIDATE CONSTRAINT bookings_payment_status_check,
    VALIDATE CONSTRAINT bookings_total_check,
    VALIDATE CONSTRAINT bookings_confirmed_check;
ALTER TABLE booking_seats VALIDATE CONSTRAINT booking_seats_seat_fkey;
ALTER TABLE tickets
    VALIDATE CONSTRAINT tickets_status_check,
    VALIDATE CONSTRAINT tickets_seat_fkey;

-- The Node service's index says nothing that tickets_booking_seat_key does not. Locks: nobody can
-- use tickets from here on, for milliseconds.
DROP INDEX IF EXISTS tickets_booking_id_idx;
