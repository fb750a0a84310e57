-- A shop that has been at it for years: about a million rows, most of which are over.
-- No triggers and no foreign keys: what is inserted here belongs together.
SET session_replication_role = replica;

INSERT INTO users (id, name, email, phone, password, email_verified_at, phone_verified_at, role)
SELECT n, 'Buyer ' || n, 'buyer' || n || '@nexus.example', '+9198' || lpad(n::text, 8, '0'), 'x', now(), now(), CASE WHEN n <= 3 THEN 'admin' ELSE 'user' END
FROM generate_series(1, 50000) n;
INSERT INTO users (id, claimed_email, claimed_phone, password)
SELECT 100000 + n, 'buyer' || n || '@nexus.example', '+9199' || lpad(n::text, 8, '0'), 'x' FROM generate_series(1, 5000) n;
INSERT INTO email_proofs (user_id, purpose, email, link_hash, expires_at)
SELECT n, 'verify', 'buyer' || n || '@nexus.example', sha256(n::text::bytea), now() + n * interval '1 second' FROM generate_series(1, 25000) n;
INSERT INTO role_changes (user_id, role_before, role_after) SELECT n, 'user', 'organiser' FROM generate_series(1, 20000) n;
INSERT INTO seat_holders (user_id, version) SELECT id, 3 FROM users;
INSERT INTO unpaid_holds (user_id, booking_id, network, ended_at, seat_seconds, is_ending)
SELECT n, n, n % 5000, now() - n * interval '1 second', 600, TRUE FROM generate_series(1, 100000) n;
INSERT INTO login_networks (user_id, network, last_login_at)
SELECT n, '10.0.0.0/24', now() - n * interval '40 seconds' FROM generate_series(1, 50000) n;
INSERT INTO refresh_tokens (user_id, token, expires_at) SELECT n, 'sha256:' || md5(n::text), now() + n * interval '1 second' FROM generate_series(1, 50000) n;
INSERT INTO sessions (id, user_id, expires_at, network)
SELECT gen_random_uuid(), n, now() + n * interval '1 second', '10.0.0.0' FROM generate_series(1, 50000) n;
INSERT INTO blacklisted_tokens (user_id, token, expires_at) SELECT n, 'sha256:' || md5(n::text), now() + n * interval '1 second' FROM generate_series(1, 50000) n;
INSERT INTO idempotency_keys (idempotency_key, operation_type, user_id, expires_at)
SELECT md5(n::text), 'create_booking', n, now() + n * interval '1 second' FROM generate_series(1, 25000) n;
INSERT INTO idempotent_requests (user_id, route, key, request_hash, attempt, leased_until, status, answer, expires_at)
SELECT n, 'create_booking', md5(n::text), '', gen_random_uuid(), now(), 200, '{}', now() + n * interval '1 second' FROM generate_series(1, 25000) n;

INSERT INTO events (id, name, description, start_date, end_date, location, organizer_id, status, is_public, created_at)
SELECT n, 'Event ' || n, '', t, t + interval '3 hours', 'Mumbai', 1 + n % 5000, CASE WHEN n % 50 = 0 THEN 'draft' ELSE 'published' END, TRUE, t - interval '60 days'
FROM generate_series(1, 25000) n, LATERAL (SELECT now() + (n - 24500) * interval '1 hour' AS t) times;
INSERT INTO event_inventory (event_id) SELECT id FROM events;
INSERT INTO event_seat_types (id, event_id, name, price, quantity, available_quantity)
SELECT n, 1 + n / 2, CASE n % 2 WHEN 0 THEN 'VIP' ELSE 'Standing' END, 100, 100, 98 FROM generate_series(1, 49999) n;
INSERT INTO event_cancellations (event_id, finished_at) SELECT n, now() FROM generate_series(1, 5000) n;

-- A thousand bookings wait to be paid, a tenth is over, and all others are confirmed.
INSERT INTO bookings (id, booking_reference, event_id, user_id, total_amount, status, payment_status, payment_id, booked_at, confirmed_at, expires_at)
SELECT n, 'BKG-' || n, 1 + n % 25000, 1 + n % 50000, 100, s, CASE s WHEN 'confirmed' THEN 'completed' ELSE 'pending' END, 'pay_' || n,
       t, t, t + interval '15 minutes'
FROM generate_series(1, 75000) n,
     LATERAL (SELECT CASE WHEN n > 74500 THEN 'pending' WHEN n % 10 = 0 THEN 'expired' ELSE 'confirmed' END AS s,
                     now() - (75000 - n) * interval '1 minute' AS t) what;
INSERT INTO seats (id, event_id, event_seat_type_id, seat_label, user_id, status, locked_at, expires_at, booked_at)
SELECT id, event_id, 2 * event_id - 1, 'A' || id, user_id, CASE status WHEN 'pending' THEN 'locked' ELSE 'booked' END, booked_at,
       CASE status WHEN 'pending' THEN expires_at END, confirmed_at
FROM bookings WHERE status <> 'expired';
INSERT INTO booking_seats (booking_id, seat_id, price_paid, event_seat_type_id, seat_label, holder_name)
SELECT id, CASE WHEN status <> 'expired' THEN id END, 100, 2 * event_id - 1, 'A' || id, CASE WHEN id % 4 = 0 THEN 'Holder ' || id END FROM bookings;
INSERT INTO tickets (booking_id, seat_id, ticket_id, seat_label, seat_type_name, price_paid, qr_code, qr_nonce, qr_key, status, owner_id)
SELECT id, id, 'TKT-' || id, 'A' || id, 'VIP', 100, CASE WHEN id % 5 <> 1 THEN '' END, id, '00000000', 'generated', CASE WHEN id % 5 = 1 THEN 1 + (id + 1) % 40000 END
FROM bookings WHERE status = 'confirmed';
INSERT INTO ticket_transfers (ticket_id, from_id, to_id, to_email, status, ended_at)
SELECT t.id, b.user_id, t.owner_id, CASE WHEN t.owner_id IS NULL THEN 'friend-' || t.id || '@nexus.example' END,
       CASE WHEN t.owner_id IS NULL THEN 'offered' ELSE 'completed' END, CASE WHEN t.owner_id IS NOT NULL THEN now() END
FROM tickets t JOIN bookings b ON b.id = t.booking_id WHERE b.id % 5 < 2;
INSERT INTO gates (id, event_id, name) OVERRIDING SYSTEM VALUE SELECT n, n, 'North' FROM generate_series(1, 20000) n;
INSERT INTO event_staff (event_id, user_id, named_as) SELECT n, 1 + n % 5000, 'helper' FROM generate_series(1, 20000) n;
INSERT INTO waiting_rooms (event_id, state, opens_at, seed, drawn_at, last_position, called, pace)
SELECT n, CASE WHEN n % 2 = 0 THEN 'open' ELSE 'announced' END, now(), sha256(n::text::bytea), CASE WHEN n % 2 = 0 THEN now() END, CASE WHEN n % 2 = 0 THEN 5000 ELSE 0 END,
       CASE WHEN n % 2 = 0 THEN 1000 ELSE 0 END, 600
FROM generate_series(24001, 24020) n;
INSERT INTO waiting_room_draws (event_id, list_digest, visitors) SELECT n, sha256(''), '{}' FROM generate_series(24002, 24020, 2) n;
INSERT INTO waiting_room_visitors (event_id, user_id, position, called_at, window_ends_at, ended_at)
SELECT e, u, CASE WHEN e % 2 = 0 THEN u END, CASE WHEN e % 2 = 0 AND u <= 1000 THEN now() END, CASE WHEN e % 2 = 0 AND u <= 1000 THEN now() + interval '10 minutes' END,
       CASE WHEN e % 2 = 0 AND u <= 900 THEN now() END
FROM generate_series(24001, 24020) e, generate_series(1, 5000) u;
INSERT INTO door_keys (id, event_id, gate_id, name, hash) OVERRIDING SYSTEM VALUE SELECT n, n, n, 'Phone', sha256(n::text::bytea) FROM generate_series(1, 20000) n;
INSERT INTO check_ins (event_id, scan_id, ticket_id, seat_type_id, gate_id, door_key_id, user_id, by_hand)
SELECT event_id, gen_random_uuid(), id, 2 * event_id - 1, CASE WHEN event_id <= 20000 THEN event_id END, CASE WHEN event_id <= 20000 THEN event_id END,
       CASE WHEN event_id > 20000 THEN 1 + event_id % 5000 END, FALSE
FROM bookings WHERE status = 'confirmed';
INSERT INTO void_codes (event_id, ticket_id, nonce) SELECT event_id, id, id FROM bookings WHERE status = 'confirmed' AND id % 3 = 0;
INSERT INTO payment_orders (order_id, booking_id, amount_paise, currency, created_at, look_at)
SELECT 'order_' || id, id, 10000, 'INR', booked_at, CASE status WHEN 'pending' THEN expires_at END FROM bookings;
INSERT INTO payments (kind, booking_id, order_id, payment_id, amount_paise, currency, created_at)
SELECT kind, id, 'order_' || id, 'pay_' || id, sign * 10000, 'INR', booked_at
FROM bookings, (VALUES ('capture', 1), ('sale', -1)) k (kind, sign) WHERE status = 'confirmed';
INSERT INTO refunds (payment_id, booking_id, amount_paise, currency, reason, status, refund_id, created_at)
SELECT 'pay_' || id, id, 10000, 'INR', 'seats_gone', CASE WHEN id % 1000 = 0 THEN 'pending' ELSE 'processed' END, 'rfnd_' || id, booked_at
FROM bookings WHERE status = 'expired' OR id % 20 = 1;
INSERT INTO provider_refunds (refund_id, payment_id, amount_paise, status, ours)
SELECT refund_id, payment_id, amount_paise, CASE status WHEN 'pending' THEN 'requested' ELSE status END, TRUE FROM refunds;
INSERT INTO disputes (dispute_id, payment_id, amount_paise, currency, taken_paise, phase, reason_code, status, stage)
SELECT 'disp_' || n, 'pay_' || 2 * n, 10000, 'INR', 0, 'chargeback', 'fraud', 'won', 3 FROM generate_series(1, 20000) n;
INSERT INTO foreign_orders (order_id, installation, noticed_at)
SELECT 'order_x' || n, CASE WHEN n % 2 = 0 THEN md5((n / 20)::text) END, now() - n * interval '1 minute' FROM generate_series(1, 20000) n;
INSERT INTO webhook_events (event_id, event_type, body, payment_id, order_id, received_at, processed_at, outcome)
SELECT 'evt_' || id, 'payment.captured', '{}', 'pay_' || id, 'order_' || id, booked_at, CASE WHEN id < 74990 THEN booked_at END, 'confirmed' FROM bookings;
INSERT INTO payment_alerts (reason, subject, booking_id, details, closed_at)
SELECT 'unknown_order', 'pay_' || n, n, '', CASE WHEN n > 20 THEN now() - n * interval '1 minute' END FROM generate_series(1, 20000) n;
INSERT INTO cancellation_notices (booking_id, user_id, booking_reference, event_name, event_start, kept_at)
SELECT 200000 + n, n, 'BKG-' || n, 'Gone', now(), now() - n * interval '1 minute' FROM generate_series(1, 20000) n;
INSERT INTO event_notices (event_id, kind, start_date, time_zone, location, changed_at, begun_at, told_through, finished_at)
SELECT id, 'reminder', start_date - n * interval '1 day', time_zone, location, now(), now(), 1, CASE WHEN n > 1 THEN now() - n * interval '1 day' END
FROM events, generate_series(1, 40) n;
INSERT INTO jobs (id, queue, kind, payload, unique_key, state, max_attempts, delivery, available_at, created_at, started_at, finished_at)
SELECT gen_random_uuid(), queue, kind, jsonb_build_object('booking_id', n), CASE WHEN state <> 'done' THEN kind || ':' || n END, state::job_state,
       20, 1, t, t, t, CASE WHEN state IN ('done', 'dead') THEN t END
FROM generate_series(1, 75000) n,
     LATERAL (SELECT now() - (75000 - n) * interval '3 seconds' AS t,
                     CASE WHEN n > 74900 THEN 'pending' WHEN n % 1000 = 0 THEN 'dead' ELSE 'done' END AS state) what,
     LATERAL (SELECT * FROM (VALUES (0, 'payments', 'process_webhook'), (1, 'bookings', 'finalise_booking'), (2, 'notifications', 'email_tickets')) q (r, queue, kind)
              WHERE r = n % 3) q;
INSERT INTO audit_log (at, action, actor, subject_kind, subject)
SELECT now() - n * interval '1 minute', (ARRAY['signed_in', 'signed_out', 'event_updated', 'registered'])[1 + n % 4], 1 + n % 20000, 'account', (1 + n % 20000)::text
FROM generate_series(1, 100000) n;
RESET session_replication_role;
ANALYZE;
