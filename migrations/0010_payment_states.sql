-- Webhooks with their headers, one live order per booking, refunds that are tried again, and what operators have to look at.

-- Those headers that tell where a webhook comes from: signature, event id, content type, user agent.
ALTER TABLE webhook_events ADD COLUMN headers JSONB NOT NULL DEFAULT '{}';

-- A buyer is asked to pay one order. Others of the same booking stay known, because somebody may still pay them.
ALTER TABLE payment_orders ADD COLUMN superseded_at TIMESTAMPTZ;
UPDATE payment_orders older SET superseded_at = now()
FROM payment_orders newer
WHERE newer.booking_id = older.booking_id AND (newer.created_at, newer.order_id) > (older.created_at, older.order_id);
-- Serves: create-order, also when it is called twice at once.
CREATE UNIQUE INDEX payment_orders_live ON payment_orders (booking_id) WHERE superseded_at IS NULL;

-- The same for the orders that the Node service goes on making: its newest is the live one.
CREATE OR REPLACE FUNCTION bookings_remember_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM payment_orders WHERE order_id = NEW.payment_id) THEN
        UPDATE payment_orders SET superseded_at = now() WHERE booking_id = NEW.id AND superseded_at IS NULL;
        INSERT INTO payment_orders (order_id, booking_id, amount_paise, currency)
        VALUES (NEW.payment_id, NEW.id, (NEW.total_amount * 100)::bigint, 'INR') ON CONFLICT DO NOTHING;
    END IF;
    RETURN NEW;
END $$;

-- A refund that Razorpay could not make is asked for again, under another idempotency key. When no tries are left, an operator decides.
ALTER TABLE refunds
    ADD COLUMN tries_left INTEGER NOT NULL DEFAULT 5,
    -- Refunds of this payment that Razorpay has given up.
    ADD COLUMN failed_ids TEXT[] NOT NULL DEFAULT '{}';

-- Money that is not as it should be. Nothing is lost by an alert being late or unread: it tells of what has been decided, or waits for a person.
CREATE TABLE payment_alerts (
    id BIGSERIAL PRIMARY KEY,
    reason TEXT NOT NULL,
    -- The payment that it is about; the webhook or job where there is none.
    subject TEXT NOT NULL,
    booking_id INTEGER,
    details TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- An operator has dealt with it.
    closed_at TIMESTAMPTZ,
    CONSTRAINT payment_alerts_subject_key UNIQUE (reason, subject)
);
-- Serves: the operators' list.
CREATE INDEX payment_alerts_open ON payment_alerts (created_at) WHERE closed_at IS NULL;
