-- Every invariant of seats and money that does not hold at this moment: which, of what, and what is there instead. One statement is one
-- snapshot, so that work in progress never looks like a violation.
WITH payment AS (
    SELECT payment_id, min(booking_id) AS booking_id, sum(amount_paise) AS balance,
           bool_or(kind = 'capture') AS captured, bool_or(kind = 'sale') AS sold,
           coalesce(sum(amount_paise) FILTER (WHERE kind IN ('sale', 'sale_reversal')), 0) = 0 AS reversed,
           coalesce(sum(amount_paise) FILTER (WHERE kind = 'capture'), 0) AS captured_paise,
           -coalesce(sum(amount_paise) FILTER (WHERE kind = 'refund'), 0) AS refunded_paise,
           -coalesce(sum(amount_paise) FILTER (WHERE kind IN ('dispute', 'dispute_reversal')), 0) AS disputed_paise
    FROM payments GROUP BY payment_id
), made AS (
    SELECT payment_id, sum(amount_paise) AS paise FROM provider_refunds WHERE status = 'processed' GROUP BY payment_id
), disputed AS (
    SELECT payment_id, sum(taken_paise) AS paise, coalesce(sum(taken_paise) FILTER (WHERE stage < 3), 0) AS undecided_paise
    FROM disputes GROUP BY payment_id
), sold AS (
    -- A part of a sale that was taken back with a part of its payment leaves the booking as it is.
    SELECT booking_id, -sum(amount_paise) FILTER (WHERE source_id = '') AS paise FROM payments
    WHERE booking_id IS NOT NULL AND kind IN ('sale', 'sale_reversal') GROUP BY booking_id
), taken AS (
    SELECT event_seat_type_id, count(*) AS n FROM seats GROUP BY event_seat_type_id
), live_job AS (
    SELECT unique_key FROM jobs WHERE job_is_live(state) AND unique_key IS NOT NULL
)
SELECT 'seats sold are at most the quantity' AS "rule!", 'seat type ' || t.id AS "subject!",
       format('%s of %s are taken', taken.n, t.quantity) AS "found!"
FROM event_seat_types t JOIN taken ON taken.event_seat_type_id = t.id WHERE taken.n > t.quantity
UNION ALL
SELECT 'available = quantity - locked - booked', 'seat type ' || t.id,
       format('%s available, %s of %s taken', t.available_quantity, coalesce(taken.n, 0), t.quantity)
FROM event_seat_types t LEFT JOIN taken ON taken.event_seat_type_id = t.id
WHERE t.available_quantity <> t.quantity - coalesce(taken.n, 0)
UNION ALL
SELECT 'a seat has one owner', 'seat ' || s.id, format('%s of booking %s belongs to user %s', s.seat_label, b.id, coalesce(s.user_id::text, 'nobody'))
FROM seats s JOIN booking_seats bs ON bs.seat_id = s.id JOIN bookings b ON b.id = bs.booking_id
WHERE s.user_id IS DISTINCT FROM b.user_id
UNION ALL
SELECT 'a confirmed booking has all its seats', 'booking ' || b.id, format('seat %s is %s', bs.seat_label, coalesce(s.status, 'not its own'))
FROM bookings b JOIN booking_seats bs ON bs.booking_id = b.id LEFT JOIN seats s ON s.id = bs.seat_id
WHERE b.status = 'confirmed' AND s.status IS DISTINCT FROM 'booked'
UNION ALL
-- Past its deadline its seats may be anybody's.
SELECT 'a pending booking has all its seats until its deadline', 'booking ' || b.id,
       format('seat %s is %s', bs.seat_label, CASE WHEN s.id IS NULL THEN 'not its own' ELSE format('%s until %s', s.status, s.expires_at) END)
FROM bookings b JOIN booking_seats bs ON bs.booking_id = b.id LEFT JOIN seats s ON s.id = bs.seat_id
WHERE b.status = 'pending' AND b.expires_at > now() AND b.booked_at > bookings_complete_since()
  AND (s.status IS DISTINCT FROM 'locked' OR s.user_id IS DISTINCT FROM b.user_id OR s.expires_at < b.expires_at)
UNION ALL
SELECT 'a booked seat belongs to a confirmed booking', 'seat ' || s.id, s.seat_label
FROM seats s WHERE s.status = 'booked' AND NOT EXISTS (
    SELECT 1 FROM booking_seats bs JOIN bookings b ON b.id = bs.booking_id WHERE bs.seat_id = s.id AND b.status = 'confirmed')
UNION ALL
SELECT 'a booking that is over holds no seats', 'booking ' || b.id, format('%s, and seat %s', b.status, bs.seat_label)
FROM bookings b JOIN booking_seats bs ON bs.booking_id = b.id
WHERE b.status IN ('cancelled', 'expired') AND bs.seat_id IS NOT NULL
UNION ALL
-- At rest nothing is owed, and this is zero per booking; less what a bank has taken for a dispute that is not decided, or has returned twice.
-- What is left of a payment that went back is less than Razorpay refunds, a rupee.
SELECT 'money in = money for seats + money returned or owed', 'payment ' || p.payment_id,
       format('a balance of ₹%s instead of ₹%s for booking %s', round(p.balance / 100.0, 2), round(p.expected / 100.0, 2), p.booking_id)
FROM (SELECT p.*, CASE WHEN r.id IS NOT NULL THEN p.left_paise
                       WHEN p.sold AND NOT p.reversed THEN -coalesce(d.undecided_paise, 0)
                       WHEN p.captured AND p.left_paise < 100 THEN p.left_paise
                       ELSE 0 END AS expected
      FROM (SELECT p.*, p.captured_paise - p.refunded_paise - p.disputed_paise AS left_paise FROM payment p) p
      LEFT JOIN refunds r ON r.payment_id = p.payment_id AND r.status <> 'processed'
      LEFT JOIN disputed d ON d.payment_id = p.payment_id) p
WHERE p.balance <> p.expected
UNION ALL
SELECT 'what disputes have taken is in the ledger', 'payment ' || p.payment_id,
       format('₹%s were taken, ₹%s in the ledger', round(coalesce(d.paise, 0) / 100.0, 2), round(p.disputed_paise / 100.0, 2))
FROM payment p LEFT JOIN disputed d ON d.payment_id = p.payment_id WHERE p.captured AND p.disputed_paise <> coalesce(d.paise, 0)
UNION ALL
SELECT 'captured money has been decided on', 'payment ' || p.payment_id, format('neither sale nor refund for booking %s', p.booking_id)
FROM payment p WHERE p.captured AND NOT p.sold AND NOT EXISTS (SELECT 1 FROM refunds r WHERE r.payment_id = p.payment_id)
UNION ALL
SELECT 'what moved had been captured', 'payment ' || p.payment_id, format('not captured, for booking %s', p.booking_id)
FROM payment p WHERE NOT p.captured
UNION ALL
-- Bookings that the Node service has confirmed have no ledger; those confirmed here have the job that makes their tickets.
SELECT 'a confirmed booking has a sale of its total', 'booking ' || b.id, format('₹%s sold, ₹%s to pay', round(coalesce(sold.paise, 0) / 100.0, 2), b.total_amount)
FROM bookings b LEFT JOIN sold ON sold.booking_id = b.id
WHERE b.status = 'confirmed' AND (b.finalisation_job IS NOT NULL OR sold.paise IS NOT NULL)
  AND coalesce(sold.paise, 0) <> b.total_amount * 100
UNION ALL
SELECT 'a sale is of a confirmed booking', 'payment ' || p.payment_id, format('booking %s is %s', p.booking_id, coalesce(b.status, 'gone'))
FROM payment p LEFT JOIN bookings b ON b.id = p.booking_id
WHERE p.sold AND NOT p.reversed AND b.status IS DISTINCT FROM 'confirmed'
UNION ALL
SELECT 'a refund that was made is in the ledger', 'payment ' || p.payment_id,
       format('₹%s were refunded, ₹%s in the ledger', round(made.paise / 100.0, 2), round(p.refunded_paise / 100.0, 2))
FROM made JOIN payment p ON p.payment_id = made.payment_id WHERE made.paise > p.refunded_paise
UNION ALL
SELECT 'a refund in the ledger was made', 'payment ' || p.payment_id,
       format('₹%s in the ledger, ₹%s were refunded', round(p.refunded_paise / 100.0, 2), round(coalesce(made.paise, 0) / 100.0, 2))
FROM payment p LEFT JOIN made ON made.payment_id = p.payment_id WHERE p.refunded_paise > coalesce(made.paise, 0)
UNION ALL
SELECT 'refunds are at most what was captured', 'payment ' || p.payment_id,
       format('₹%s were refunded of ₹%s', round(made.paise / 100.0, 2), round(p.captured_paise / 100.0, 2))
FROM made JOIN payment p ON p.payment_id = made.payment_id WHERE p.captured AND made.paise > p.captured_paise
UNION ALL
SELECT 'a refund that is owed has a job', 'payment ' || r.payment_id, format('%s, with %s tries left', r.status, r.tries_left)
FROM refunds r WHERE r.status IN ('pending', 'failed') AND NOT EXISTS (
    SELECT 1 FROM live_job WHERE unique_key = job_key($2, r.id))
UNION ALL
SELECT 'a webhook that waits has a job', 'webhook ' || w.id, w.event_type
FROM webhook_events w WHERE w.processed_at IS NULL AND NOT EXISTS (
    SELECT 1 FROM live_job WHERE unique_key = job_key($3, w.id))
ORDER BY 1, 2
LIMIT $1
