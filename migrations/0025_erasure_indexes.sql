-- Existing rows obey the rules of the file before, too, and the indexes of what it has added.
--
-- Locks: the rules are proved while others read and write. Then who asks for a new order, and who
-- brings a webhook, waits for as long as payment_orders and webhook_events are read, a second with
-- a million rows.
ALTER TABLE users VALIDATE CONSTRAINT users_erased_check;
ALTER TABLE events VALIDATE CONSTRAINT events_organizer_id_fkey;
ALTER TABLE bookings VALIDATE CONSTRAINT bookings_user_id_fkey;

-- Serves: the export of an account, which has the orders of its deleted bookings.
CREATE INDEX payment_orders_user ON payment_orders (user_id) WHERE user_id IS NOT NULL;
-- Serves: the cleanup job, which empties the bodies of old webhooks.
CREATE INDEX webhook_events_bodies ON webhook_events (processed_at)
    WHERE processed_at IS NOT NULL AND has_body;
