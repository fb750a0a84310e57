-- What the Node service has left half done, and what it goes on doing while both services run side by side.

-- A price that was no number let any amount pass, so that a booking whose total is NaN may have been paid: whoever was confirmed stays so.
-- Only those were confirmed and then cancelled without a time.
UPDATE bookings SET status = 'confirmed', payment_status = 'completed'
WHERE status = 'cancelled' AND cancelled_at IS NULL AND confirmed_at IS NOT NULL;
UPDATE booking_seats SET price_paid = 0 WHERE price_paid = 'NaN';
UPDATE tickets SET price_paid = 0 WHERE price_paid = 'NaN';

-- Nobody can pay a negative total; and a row that breaks a rule cannot be changed, not even to expire.
UPDATE bookings
SET total_amount = 0,
    status = CASE status WHEN 'pending' THEN 'cancelled' ELSE status END,
    payment_status = CASE status WHEN 'pending' THEN 'cancelled' ELSE payment_status END,
    cancelled_at = CASE status WHEN 'pending' THEN now() ELSE cancelled_at END
WHERE total_amount < 0;
ALTER TABLE bookings VALIDATE CONSTRAINT bookings_total_check;

-- A seat that was given out twice has a second label since 0002. Whoever has paid for that seat keeps the row; whoever has not gives it back,
-- and their booking wants the real label again: should they pay, they get that seat if it is free by then, and their money back if not.
-- A type that was full stays full, since its quantity may have been raised to cover the second row.
CREATE TEMPORARY TABLE doubled AS
SELECT DISTINCT ON (s.id) s.id, s.event_seat_type_id, original.seat_label
FROM seats s JOIN seats original ON original.event_seat_type_id = s.event_seat_type_id AND original.id <> s.id
WHERE s.status = 'locked' AND s.seat_label = left(original.seat_label, 19 - length(s.id::text)) || 'D' || s.id;
UPDATE booking_seats bs SET seat_label = doubled.seat_label FROM doubled WHERE doubled.id = bs.seat_id;
DELETE FROM seats USING doubled WHERE doubled.id = seats.id;
UPDATE event_seat_types t
SET quantity = quantity - CASE WHEN available_quantity = 0 THEN back.n ELSE 0 END,
    available_quantity = available_quantity + CASE WHEN available_quantity = 0 THEN 0 ELSE back.n END
FROM (SELECT event_seat_type_id, count(*)::integer AS n FROM doubled GROUP BY event_seat_type_id) back
WHERE back.event_seat_type_id = t.id;
DROP TABLE doubled;

-- One deadline for a booking and its seats: these used to run out five minutes earlier (CONTRACT.md, section 10, row 3).
UPDATE seats s SET expires_at = b.expires_at
FROM booking_seats bs JOIN bookings b ON b.id = bs.booking_id
WHERE bs.seat_id = s.id AND s.status = 'locked' AND s.expires_at < b.expires_at AND b.status = 'pending';

-- The same for the bookings that the Node service goes on making.
CREATE OR REPLACE FUNCTION booking_seats_remember_seat() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE seats s SET expires_at = b.expires_at FROM bookings b
    WHERE s.id = NEW.seat_id AND b.id = NEW.booking_id AND s.status = 'locked' AND s.expires_at < b.expires_at;
    SELECT event_seat_type_id, seat_label INTO NEW.event_seat_type_id, NEW.seat_label FROM seats WHERE id = NEW.seat_id;
    RETURN NEW;
END $$;

-- The Node service remembers an order in its booking only, until the next order or the payment takes its place.
CREATE FUNCTION bookings_remember_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO payment_orders (order_id, booking_id, amount_paise, currency)
    VALUES (NEW.payment_id, NEW.id, (NEW.total_amount * 100)::bigint, 'INR') ON CONFLICT DO NOTHING;
    RETURN NEW;
END $$;
CREATE TRIGGER bookings_remember_order AFTER UPDATE OF payment_id ON bookings
    FOR EACH ROW WHEN (NEW.payment_id LIKE 'order\_%' AND NEW.total_amount > 0) EXECUTE FUNCTION bookings_remember_order();

-- When it changes a quantity, the Node service counts what is booked and forgets what is locked (CONTRACT.md, section 10, row 5): the new
-- count would sell locked seats again, and break its rule once they run out. A quantity below what is taken fails the count's check.
CREATE FUNCTION seat_types_count_available() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.available_quantity := NEW.quantity - (SELECT count(*) FROM seats WHERE event_seat_type_id = NEW.id);
    RETURN NEW;
END $$;
CREATE TRIGGER seat_types_count_available BEFORE UPDATE OF quantity ON event_seat_types
    FOR EACH ROW EXECUTE FUNCTION seat_types_count_available();

-- Confirmed bookings that are still without a ticket for each seat: the queue that was to make them stays behind.
INSERT INTO jobs (id, queue, kind, payload, unique_key, max_attempts)
SELECT gen_random_uuid(), 'bookings', 'finalise_booking', jsonb_build_object('booking_id', b.id), 'finalise_booking:' || b.id, 20
FROM bookings b JOIN events e ON e.id = b.event_id
WHERE b.status = 'confirmed' AND e.end_date > now()
  AND (SELECT count(*) FROM booking_seats WHERE booking_id = b.id) > (SELECT count(*) FROM tickets WHERE booking_id = b.id)
ON CONFLICT DO NOTHING;
