-- Money: the orders we asked the provider for, its webhooks as they arrived, refunds that we owe, and the ledger of what moved.

-- Every order that was ever created for a booking. A booking used to remember only its newest, and payments on the others were lost.
CREATE TABLE payment_orders (
    order_id TEXT PRIMARY KEY,
    -- No foreign key: an order outlives its booking, as a payment on it may.
    booking_id INTEGER NOT NULL,
    amount_paise BIGINT NOT NULL CHECK (amount_paise > 0),
    currency TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
-- Serves: create-order, which returns the live order of a booking.
CREATE INDEX payment_orders_booking ON payment_orders (booking_id);
INSERT INTO payment_orders (order_id, booking_id, amount_paise, currency)
SELECT payment_id, id, (total_amount * 100)::bigint, 'INR' FROM bookings
WHERE payment_id LIKE 'order\_%' AND total_amount > 0
ON CONFLICT DO NOTHING;

-- The inbox: what Razorpay said, byte for byte, before anybody acts on it.
CREATE TABLE webhook_events (
    id BIGSERIAL PRIMARY KEY,
    provider TEXT NOT NULL DEFAULT 'razorpay',
    -- x-razorpay-event-id, or sha256:<hash of the body> when the header is missing.
    event_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    body BYTEA NOT NULL,
    received_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    processed_at TIMESTAMPTZ,
    outcome TEXT,
    CONSTRAINT webhook_events_event_key UNIQUE (provider, event_id)
);

-- A refund that we owe. One per payment: refunds are always for the whole payment.
CREATE TABLE refunds (
    id BIGSERIAL PRIMARY KEY,
    payment_id TEXT NOT NULL,
    booking_id INTEGER,
    amount_paise BIGINT NOT NULL CHECK (amount_paise > 0),
    currency TEXT NOT NULL,
    reason TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'requested', 'processed', 'failed')),
    refund_id TEXT UNIQUE,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT refunds_payment_key UNIQUE (payment_id)
);

-- Every movement of money, signed, never changed. Per booking the sum is zero at rest: what came in became a sale or went back.
--   capture        +  the buyer's money arrived
--   sale           -  it paid for a confirmed booking
--   sale_reversal  +  that booking was cancelled
--   refund         -  the money went back
CREATE TABLE payments (
    id BIGSERIAL PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('capture', 'sale', 'sale_reversal', 'refund')),
    booking_id INTEGER,
    order_id TEXT,
    payment_id TEXT NOT NULL,
    amount_paise BIGINT NOT NULL,
    currency TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT payments_sign_check CHECK ((kind IN ('capture', 'sale_reversal')) = (amount_paise > 0) AND amount_paise <> 0),
    -- A payment is captured once and refunded once, whatever the webhooks say.
    CONSTRAINT payments_movement_key UNIQUE (payment_id, kind)
);
-- One confirmation per booking.
CREATE UNIQUE INDEX payments_one_sale ON payments (booking_id) WHERE kind = 'sale';

CREATE FUNCTION payments_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'payments is append-only';
END $$;
CREATE TRIGGER payments_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON payments
    FOR EACH STATEMENT EXECUTE FUNCTION payments_append_only();
