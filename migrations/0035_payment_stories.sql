-- The story of a payment, for operators: everything that our books have of it is found by its id, its order's or its booking's, however much there is.

ALTER TABLE webhook_events
    -- The payment and the order that a webhook is about: '' if it names none, NULL until somebody has looked. The cleanup worker looks at those
    -- from before, a bounded number at a time, and at what processes of an earlier release go on storing.
    ADD COLUMN payment_id TEXT,
    ADD COLUMN order_id TEXT;
-- Serve: the story's search for webhooks.
CREATE INDEX webhook_events_payment ON webhook_events (payment_id);
CREATE INDEX webhook_events_order ON webhook_events (order_id);
-- Serves: the cleanup worker's search for webhooks that nobody has looked at.
CREATE INDEX webhook_events_unread ON webhook_events (id) WHERE payment_id IS NULL;

-- Serve: the story's search for the payments of a booking, and of an order.
CREATE INDEX payments_of_booking ON payments (booking_id);
CREATE INDEX payments_of_order ON payments (order_id);

-- Serve: the story's search for alerts, open or closed.
CREATE INDEX payment_alerts_subject ON payment_alerts (subject);
CREATE INDEX payment_alerts_booking ON payment_alerts (booking_id);

-- Serves: the story's search for dead letters; live jobs have jobs_unique_key.
CREATE INDEX jobs_dead_key ON jobs (unique_key) WHERE state = 'dead';
