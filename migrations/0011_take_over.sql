-- What the Node service has left half done.

-- Confirmed bookings without a ticket for each seat: the queue that was to make them stays behind.
INSERT INTO jobs (id, queue, kind, payload, unique_key, max_attempts)
SELECT gen_random_uuid(), 'bookings', 'finalise_booking',
       jsonb_build_object('booking_id', b.id), job_key('finalise_booking', b.id), 20
FROM bookings b JOIN events e ON e.id = b.event_id
WHERE b.status = 'confirmed' AND e.end_date > now()
  AND (SELECT count(*) FROM booking_seats WHERE booking_id = b.id)
    > (SELECT count(*) FROM tickets WHERE booking_id = b.id);

-- The orders of the Node service: its newest of each booking.
INSERT INTO payment_orders (order_id, booking_id, amount_paise, currency, look_at)
SELECT payment_id, id, (total_amount * 100)::bigint, 'INR', expires_at
FROM bookings WHERE payment_id LIKE 'order\_%' AND total_amount > 0
ON CONFLICT DO NOTHING;

-- Since when a pending booking has all its seats until its deadline, which is now: the Node service
-- gave seats to two bookings. Serves: the check of the books.
DO $$
BEGIN
    EXECUTE format(
        'CREATE FUNCTION bookings_complete_since() RETURNS TIMESTAMPTZ
             LANGUAGE sql IMMUTABLE AS %L',
        format('SELECT %L::timestamptz', now()));
END $$;
