-- Tickets that were cancelled before void codes were kept, of events to come. Nobody waits while they
-- are read.
INSERT INTO void_codes (event_id, ticket_id, nonce)
SELECT b.event_id, t.id, t.qr_nonce
FROM events e JOIN bookings b ON b.event_id = e.id JOIN tickets t ON t.booking_id = b.id
WHERE e.end_date > now() AND t.status = 'cancelled' AND t.qr_nonce IS NOT NULL
ON CONFLICT DO NOTHING;
