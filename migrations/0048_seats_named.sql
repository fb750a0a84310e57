-- no-transaction
-- Seats whose holders have a name of their own, by booking.
--
-- Locks: nobody.

-- Serves: the search at the door; the erasure of an account.
CREATE INDEX CONCURRENTLY booking_seats_named ON booking_seats (booking_id)
    WHERE holder_name IS NOT NULL OR holder_details IS NOT NULL;
