-- Reconciliation: when Razorpay is asked about an order or a refund whose webhooks may have been lost.

ALTER TABLE payment_orders
    -- The next time to ask; NULL: no more. Set when the order is remembered, by whomever.
    ADD COLUMN look_at TIMESTAMPTZ,
    -- When it was asked about last, and how often: the gaps grow.
    ADD COLUMN looked_at TIMESTAMPTZ,
    ADD COLUMN looks INTEGER NOT NULL DEFAULT 0;
-- Serves: the reconciler's search for orders to ask about.
CREATE INDEX payment_orders_due ON payment_orders (look_at) WHERE look_at IS NOT NULL;

-- An order is asked about at its booking's deadline. One without a booking (deleted with its event) is asked about at once.
CREATE FUNCTION payment_orders_plan_look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.look_at := coalesce(NEW.look_at, (SELECT expires_at FROM bookings WHERE id = NEW.booking_id), now());
    RETURN NEW;
END $$;
CREATE TRIGGER payment_orders_plan_look BEFORE INSERT ON payment_orders
    FOR EACH ROW EXECUTE FUNCTION payment_orders_plan_look();

-- Those that exist already and may still be paid.
UPDATE payment_orders o
SET look_at = coalesce((SELECT expires_at FROM bookings WHERE id = o.booking_id), now())
WHERE created_at > now() - interval '7 days';

-- When Razorpay was asked about a refund that has not been carried out yet.
ALTER TABLE refunds ADD COLUMN looked_at TIMESTAMPTZ;
-- Serves: the reconciler's search for refunds that are not finished.
CREATE INDEX refunds_unfinished ON refunds (created_at) WHERE status <> 'processed';
