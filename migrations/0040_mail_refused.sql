-- Whether mail to a booking's buyer was refused for good, so that the buyer can be told.
--
-- Locks: nobody can use bookings, for milliseconds: no row is read or written.
ALTER TABLE bookings
    -- NULL once a mail about the booking was accepted.
    ADD COLUMN mail_refused_at TIMESTAMPTZ;
