-- no-transaction
-- Transferred tickets, by booking.
--
-- Locks: nobody.

-- Serves: whom else than its buyer a booking concerns: messages about it, the search at the door, its
-- cancellation.
CREATE INDEX CONCURRENTLY tickets_transferred ON tickets (booking_id) WHERE owner_id IS NOT NULL;
