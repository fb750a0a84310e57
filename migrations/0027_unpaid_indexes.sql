-- Indexes by which an account's unpaid seats and bookings are found among all that it ever bought.
-- Their conditions are written so that no other index has them: when a sale begins, PostgreSQL knows
-- of no locked seat yet, and would take seats_expiring, which has those of everybody.
--
-- Locks: who locks, books or pays waits for as long as seats and bookings are read, about a second
-- for a million rows.

-- Serves: every lock, which counts its user's unpaid seats of all events.
CREATE INDEX seats_unpaid ON seats (user_id) WHERE status <> 'booked';
-- Serves: every new booking, which counts its user's unpaid ones.
CREATE INDEX bookings_unpaid ON bookings (user_id)
    WHERE status NOT IN ('confirmed', 'cancelled', 'expired');
