-- Repairs the bookings that the Node service has left, with their seats and tickets. No buyer loses
-- what they have paid for.
--
-- Locks: the rows that change, all links of bookings and seats among them, until the end: about
-- half a minute for a million. Others can read everything, and add to it. Tables are changed in the
-- order in which the Node service changes them.

-- A row that breaks several rules is put right at once, because a row that breaks a rule cannot be
-- changed. A price that was no number let any amount pass: a buyer who has paid keeps the booking,
-- and one who has not loses what cannot be paid. An unknown status becomes what the dates say.
WITH broken AS (
    SELECT id, total_amount >= 0 AND total_amount <> 'NaN' AS is_payable,
           CASE WHEN status IN ('pending', 'confirmed', 'cancelled', 'expired') THEN status
                WHEN cancelled_at IS NOT NULL THEN 'cancelled'
                WHEN confirmed_at IS NOT NULL THEN 'confirmed'
                ELSE 'pending' END AS status
    FROM bookings
    WHERE total_amount < 0 OR total_amount = 'NaN'
       OR status NOT IN ('pending', 'confirmed', 'cancelled', 'expired')
       OR payment_status NOT IN ('pending', 'failed', 'completed', 'refunded', 'cancelled')
       OR (status = 'confirmed' AND confirmed_at IS NULL)
), mended AS (
    SELECT *, status = 'pending' AND NOT is_payable AS is_void FROM broken
)
UPDATE bookings b
SET total_amount = CASE WHEN m.is_payable THEN b.total_amount ELSE 0 END,
    status = CASE WHEN m.is_void THEN 'cancelled' ELSE m.status END,
    payment_status = CASE
        WHEN m.is_void THEN 'cancelled'
        WHEN m.status = 'confirmed' THEN 'completed'
        WHEN b.payment_status IN ('pending', 'failed', 'completed', 'refunded', 'cancelled')
            THEN b.payment_status
        WHEN m.status = 'pending' THEN 'pending'
        ELSE 'cancelled' END,
    cancelled_at = CASE WHEN m.is_void THEN now() ELSE b.cancelled_at END,
    confirmed_at = CASE WHEN m.status = 'confirmed'
        THEN coalesce(b.confirmed_at, b.booked_at, now()) ELSE b.confirmed_at END
FROM mended m WHERE m.id = b.id;

-- A cancelled booking that nobody had paid said 'refunded'.
UPDATE bookings SET payment_status = 'cancelled'
WHERE status = 'cancelled' AND payment_status = 'refunded'
  AND (payment_id IS NULL OR payment_id LIKE 'order\_%');

UPDATE bookings SET expires_at = coalesce(booked_at, now()) + interval '15 minutes'
WHERE expires_at IS NULL;

-- Every seat is booked or locked, and every lock runs out.
UPDATE seats s
SET status = CASE WHEN status <> 'locked' AND EXISTS (
        SELECT 1 FROM booking_seats bs JOIN bookings b ON b.id = bs.booking_id
        WHERE bs.seat_id = s.id AND b.status = 'confirmed')
    THEN 'booked' ELSE 'locked' END,
    expires_at = coalesce(expires_at, locked_at + interval '10 minutes', now())
WHERE status NOT IN ('locked', 'booked') OR (status = 'locked' AND expires_at IS NULL);
-- The locks of a booking's seats ran out five minutes before the booking itself.
UPDATE seats s SET expires_at = b.expires_at
FROM booking_seats bs JOIN bookings b ON b.id = bs.booking_id
WHERE bs.seat_id = s.id AND s.status = 'locked' AND b.status = 'pending'
  AND s.expires_at < b.expires_at;

UPDATE booking_seats bs SET event_seat_type_id = s.event_seat_type_id, seat_label = s.seat_label
FROM seats s WHERE s.id = bs.seat_id AND bs.seat_label IS NULL;
UPDATE booking_seats SET price_paid = 0 WHERE price_paid = 'NaN' OR price_paid < 0;

-- The status first: a ticket whose status breaks its rule cannot be changed otherwise.
UPDATE tickets SET status = CASE WHEN qr_code IS NULL THEN 'pending' ELSE 'generated' END
WHERE status NOT IN ('pending', 'generated', 'sent', 'delivered', 'failed', 'cancelled', 'used');
UPDATE tickets SET price_paid = 0 WHERE price_paid = 'NaN' OR price_paid < 0;
