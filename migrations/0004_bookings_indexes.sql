-- Indexes of bookings, of their seats and of tickets, and what has to be repaired for those that
-- are unique.
--
-- Locks: nobody can write to these tables while this file runs, about ten seconds for a million
-- rows; everybody can read.
LOCK TABLE bookings, booking_seats, tickets IN SHARE ROW EXCLUSIVE MODE;

-- Serves: the expiry worker's search for unpaid bookings past their deadline.
CREATE INDEX bookings_expiring ON bookings (expires_at) WHERE status = 'pending';
-- Serves: my-bookings, the newest first.
CREATE INDEX bookings_of_user ON bookings (user_id, booked_at DESC, id DESC);

-- Two bookings could get the same seat: a confirmed one keeps it, else the older one.
UPDATE booking_seats loser SET seat_id = NULL
FROM bookings lost
WHERE lost.id = loser.booking_id AND EXISTS (
    SELECT 1 FROM booking_seats winner JOIN bookings won ON won.id = winner.booking_id
    WHERE winner.seat_id = loser.seat_id
      AND (won.status <> 'confirmed', winner.id) < (lost.status <> 'confirmed', loser.id)
);
-- Rule: a seat belongs to one booking. Serves: the search for the booking of a seat.
CREATE UNIQUE INDEX booking_seats_seat_key ON booking_seats (seat_id) WHERE seat_id IS NOT NULL;

-- Tickets could be made twice: the older one stays.
DELETE FROM tickets t USING tickets earlier
WHERE earlier.booking_id = t.booking_id AND earlier.seat_id = t.seat_id AND earlier.id < t.id;
-- Rule: a booking has one ticket for a seat, however often the tickets are made. Serves: the
-- tickets of a booking.
CREATE UNIQUE INDEX tickets_booking_seat_key ON tickets (booking_id, seat_id);
-- Serves: giving a seat back, which looks for its tickets while others wait for the event's seats.
CREATE INDEX tickets_seat ON tickets (seat_id) WHERE seat_id IS NOT NULL;
-- Serves: the job that signs the QR codes that nobody has signed.
CREATE INDEX tickets_unsigned ON tickets (id) WHERE qr_nonce IS NULL AND status <> 'cancelled';
