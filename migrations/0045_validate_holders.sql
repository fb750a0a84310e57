-- Rule: the checks of 0043_holders and 0044_transfer_words hold for every row.
--
-- Locks: nobody; all seats of bookings, tickets and the log are read.
ALTER TABLE booking_seats VALIDATE CONSTRAINT booking_seats_holder_check;
ALTER TABLE tickets VALIDATE CONSTRAINT tickets_owner_fkey;
ALTER TABLE tickets VALIDATE CONSTRAINT tickets_owner_picture_check;
ALTER TABLE audit_log VALIDATE CONSTRAINT audit_log_action_check;
