-- Money: the orders that we have asked Razorpay for, its webhooks as they arrived, the ledger of
-- what moved, refunds, disputes, and what operators have to look at.

-- Installations may share an account at Razorpay, and one may be restored from a backup or copied:
-- whose an order is must not be guessed.
CREATE TABLE installation (
    -- Rule: there is one row.
    one BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one),
    -- Every order at Razorpay has a note of it. A database that was made anew has another.
    id UUID NOT NULL DEFAULT gen_random_uuid(),
    -- Since when no refund is asked for, until an operator says so. NULL: refunds are asked for.
    refunds_held_at TIMESTAMPTZ,
    -- The reconciler has looked at payments that were begun before. In books that were restored
    -- from a backup it is as old as they are.
    looked_at TIMESTAMPTZ
);
INSERT INTO installation DEFAULT VALUES;

-- As a default it serves everybody who inserts, the Node service and the triggers that follow it
-- too, whatever else they may read and wherever they look for tables. It does not change within a
-- statement, so that existing rows get the id without being written.
CREATE FUNCTION installation_id() RETURNS UUID STABLE LANGUAGE sql
    SECURITY DEFINER SET search_path FROM CURRENT AS 'SELECT id FROM installation';

-- Locks: nobody can use bookings from here on, for milliseconds.
ALTER TABLE bookings
    -- Orders for the booking have a note of the installation's id. Those of the Node service have
    -- not: they count by their receipt alone.
    ADD COLUMN orders_are_marked BOOLEAN NOT NULL DEFAULT FALSE,
    -- The installation that has made the booking. A copy of the database that is given an id of its
    -- own leaves alone what it has copied.
    ADD COLUMN installation UUID NOT NULL DEFAULT installation_id();

-- Every order for a booking. The Node service remembers only the newest of a booking, and loses
-- payments on the others.
CREATE TABLE payment_orders (
    -- order_…
    order_id TEXT PRIMARY KEY,
    -- No foreign key: an order outlives its booking, as a payment on it may.
    booking_id INTEGER NOT NULL,
    -- The buyer of a booking that was deleted; until then the booking says it.
    user_id INTEGER,
    -- The installation that has made the order.
    installation UUID NOT NULL DEFAULT installation_id(),
    -- Rule: an order is for money. Nothing needs no order.
    amount_paise BIGINT NOT NULL CHECK (amount_paise > 0),
    currency TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- The buyer is asked to pay one order. Others of the same booking stay known, because somebody
    -- may still pay them.
    superseded_at TIMESTAMPTZ,
    -- When the reconciler asks Razorpay next, whose webhooks may have been lost. NULL: no more.
    look_at TIMESTAMPTZ,
    -- When it has asked last, and how often: the gaps grow.
    looked_at TIMESTAMPTZ,
    looks INTEGER NOT NULL DEFAULT 0
);
-- Serves: the orders of a booking, for the story of a payment and when the booking is deleted.
CREATE INDEX payment_orders_booking ON payment_orders (booking_id);
-- Rule: a booking has one live order. Serves: create-order, also when it is called twice at once.
CREATE UNIQUE INDEX payment_orders_live ON payment_orders (booking_id) WHERE superseded_at IS NULL;
-- Serves: the reconciler's search for orders to ask about.
CREATE INDEX payment_orders_due ON payment_orders (look_at) WHERE look_at IS NOT NULL;

-- The reconciler asks at the booking's deadline; at once if the booking is gone with its event.
CREATE FUNCTION payment_orders_plan_look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.look_at := coalesce(
        NEW.look_at, (SELECT expires_at FROM bookings WHERE id = NEW.booking_id), now());
    RETURN NEW;
END $$;
CREATE TRIGGER payment_orders_plan_look BEFORE INSERT ON payment_orders
    FOR EACH ROW EXECUTE FUNCTION payment_orders_plan_look();

-- The buyer is told of money that goes back after the booking has gone with its event.
CREATE FUNCTION bookings_leave_buyer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE payment_orders SET user_id = OLD.user_id WHERE booking_id = OLD.id;
    RETURN OLD;
END $$;
CREATE TRIGGER bookings_leave_buyer BEFORE DELETE ON bookings
    FOR EACH ROW EXECUTE FUNCTION bookings_leave_buyer();

-- The Node service remembers an order in its booking only, until the next order or the payment
-- takes its place. Its newest order is the live one; the one before is new to us only while 0011
-- has not come to it.
CREATE FUNCTION bookings_remember_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM payment_orders WHERE order_id = NEW.payment_id) THEN
        INSERT INTO payment_orders (order_id, booking_id, amount_paise, currency)
        SELECT OLD.payment_id, OLD.id, (OLD.total_amount * 100)::bigint, 'INR'
        WHERE OLD.payment_id LIKE 'order\_%' AND OLD.total_amount > 0
        ON CONFLICT DO NOTHING;
        UPDATE payment_orders SET superseded_at = now()
        WHERE booking_id = NEW.id AND superseded_at IS NULL;
        INSERT INTO payment_orders (order_id, booking_id, amount_paise, currency)
        VALUES (NEW.payment_id, NEW.id, (NEW.total_amount * 100)::bigint, 'INR')
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER bookings_remember_order AFTER UPDATE OF payment_id ON bookings
    FOR EACH ROW WHEN (NEW.payment_id LIKE 'order\_%' AND NEW.total_amount > 0)
    EXECUTE FUNCTION bookings_remember_order();

-- Orders on which this installation takes and returns money.
CREATE VIEW own_orders AS
SELECT * FROM payment_orders WHERE installation = (SELECT id FROM installation);

-- Orders at Razorpay that were paid and are not in our books: Razorpay is asked once whose they
-- are, and operators are told once.
CREATE TABLE foreign_orders (
    order_id TEXT PRIMARY KEY,
    -- The installation that its notes name; NULL when they name none.
    installation TEXT,
    noticed_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
-- Serves: "have operators been told of this installation?".
CREATE INDEX foreign_orders_of_installation ON foreign_orders (installation)
    WHERE installation IS NOT NULL;
-- Serves: the cleanup job, which removes the oldest.
CREATE INDEX foreign_orders_by_age ON foreign_orders (noticed_at);

-- The inbox: what Razorpay said, byte for byte, before anybody acts on it.
CREATE TABLE webhook_events (
    id BIGSERIAL PRIMARY KEY,
    provider TEXT NOT NULL DEFAULT 'razorpay',
    -- x-razorpay-event-id, or sha256:<hash of the body> when that header is missing.
    event_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    -- The payment and the order that it is about; '' if it names none.
    payment_id TEXT NOT NULL,
    order_id TEXT NOT NULL,
    -- Those headers that tell where it comes from: signature, event id, content type, user agent.
    headers JSONB NOT NULL DEFAULT '{}',
    body BYTEA NOT NULL,
    received_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    processed_at TIMESTAMPTZ,
    -- What came of it, for operators.
    outcome TEXT,
    -- Rule: a webhook is acted on once, however often it is delivered.
    CONSTRAINT webhook_events_event_key UNIQUE (provider, event_id)
);
-- Serves: the webhooks of a payment, for its story.
CREATE INDEX webhook_events_payment ON webhook_events (payment_id);
-- Serves: the webhooks of an order, for its story.
CREATE INDEX webhook_events_order ON webhook_events (order_id);
-- Serves: the cleanup job, which removes those that were acted on long ago.
CREATE INDEX webhook_events_processed ON webhook_events (processed_at)
    WHERE processed_at IS NOT NULL;

-- Each row of the ledger is in exactly one daily file of the export. So it is dated by the moment
-- at which it is written, and its transaction gets its number before that: the export of what is
-- dated before a moment is complete when every transaction has ended whose number had been given by
-- then.
CREATE FUNCTION ledger_time() RETURNS TIMESTAMPTZ VOLATILE LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_current_xact_id();
    RETURN clock_timestamp();
END $$;

-- The ledger: every movement of money, signed, never changed. For each booking the sum is zero at
-- rest: what came in became a sale or went back.
--   capture           +  the buyer's money arrived
--   sale              -  it paid for a confirmed booking
--   sale_reversal     +  that booking was cancelled
--   refund            -  the money went back
--   dispute           -  the buyer's bank took it
--   dispute_reversal  +  the bank gave it back
CREATE TABLE payments (
    id BIGSERIAL PRIMARY KEY,
    -- Rule: there are these movements.
    kind TEXT NOT NULL CHECK (
        kind IN ('capture', 'sale', 'sale_reversal', 'refund', 'dispute', 'dispute_reversal')),
    booking_id INTEGER,
    order_id TEXT,
    payment_id TEXT NOT NULL,
    -- The refund or dispute that the row is about; '' for other kinds.
    source_id TEXT NOT NULL DEFAULT '',
    amount_paise BIGINT NOT NULL,
    currency TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT ledger_time(),
    -- Rule: each kind has its sign, and nothing is no movement.
    CONSTRAINT payments_sign_check CHECK (
        (kind IN ('capture', 'sale_reversal', 'dispute_reversal')) = (amount_paise > 0)
        AND amount_paise <> 0),
    -- Rule: a payment moves once in each way, and back once for each of its refunds, whatever the
    -- webhooks say. Serves: the movements of a payment.
    CONSTRAINT payments_movement_key UNIQUE (payment_id, kind, source_id)
);
-- Rule: a booking is sold once. Serves: "has this booking been sold?".
CREATE UNIQUE INDEX payments_one_sale ON payments (booking_id) WHERE kind = 'sale';
-- Serves: the movements of a booking, for the story of a payment.
CREATE INDEX payments_of_booking ON payments (booking_id);
-- Serves: the movements of an order, for its story.
CREATE INDEX payments_of_order ON payments (order_id);
-- Serves: the export of a period, page by page.
CREATE INDEX payments_by_time ON payments (created_at, id);

-- Rule: the ledger only grows.
CREATE FUNCTION payments_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'payments is append-only';
END $$;
CREATE TRIGGER payments_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON payments
    FOR EACH STATEMENT EXECUTE FUNCTION payments_append_only();

-- Rule: no more goes back than was captured, whatever anybody says, and however many write at once.
CREATE FUNCTION payments_refunds_within_capture() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    captured BIGINT;
    returned BIGINT;
BEGIN
    -- The lock under which everything about a payment is decided.
    PERFORM pg_advisory_xact_lock(hashtextextended('payment:' || NEW.payment_id, 0));
    SELECT sum(amount_paise) FILTER (WHERE kind = 'capture'),
           -coalesce(sum(amount_paise) FILTER (WHERE kind = 'refund'), 0)
    INTO captured, returned FROM payments WHERE payment_id = NEW.payment_id;
    IF returned - NEW.amount_paise > captured THEN
        RAISE EXCEPTION 'refunds of % would exceed what was captured', NEW.payment_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_refunds_within_capture';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER payments_refunds_within_capture BEFORE INSERT ON payments
    FOR EACH ROW WHEN (NEW.kind = 'refund') EXECUTE FUNCTION payments_refunds_within_capture();

-- What a payment is owed back, once for each payment. It goes back in one refund or in several,
-- which are in provider_refunds.
CREATE TABLE refunds (
    id BIGSERIAL PRIMARY KEY,
    payment_id TEXT NOT NULL,
    booking_id INTEGER,
    -- Rule: what is owed is money.
    amount_paise BIGINT NOT NULL CHECK (amount_paise > 0),
    currency TEXT NOT NULL,
    -- Rule: the reasons for which money goes back.
    reason TEXT NOT NULL CHECK (
        reason IN ('amount_mismatch', 'already_paid', 'seats_gone', 'ticket_limit', 'event_over',
                   'booking_gone', 'cancelled', 'not_ours', 'disputed')),
    -- Rule: the states of a debt.
    status TEXT NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'requested', 'processed', 'failed')),
    -- The refund at Razorpay that pays it. Rule: a refund pays one debt.
    refund_id TEXT UNIQUE,
    -- Refunds that Razorpay could not make. Each is asked for again, under another idempotency key;
    -- when no tries are left, an operator decides.
    failed_ids TEXT[] NOT NULL DEFAULT '{}',
    tries_left INTEGER NOT NULL DEFAULT 5,
    -- When the reconciler has asked Razorpay about it.
    looked_at TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- Rule: a payment is owed back once.
    CONSTRAINT refunds_payment_key UNIQUE (payment_id)
);
-- Serves: how far the refunds of an event are, and what the buyer of a cancelled booking is told.
CREATE INDEX refunds_of_booking ON refunds (booking_id);
-- Serves: the reconciler's search for refunds that are not finished.
CREATE INDEX refunds_unfinished ON refunds (created_at) WHERE status <> 'processed';

-- Each refund that Razorpay has made, is making, or could not make. An operator may have asked for
-- some of them by hand, at Razorpay.
CREATE TABLE provider_refunds (
    -- rfnd_…
    refund_id TEXT PRIMARY KEY,
    payment_id TEXT NOT NULL,
    -- Rule: a refund is of money.
    amount_paise BIGINT NOT NULL CHECK (amount_paise > 0),
    -- Rule: the states of a refund. It only moves forward: requested, then failed or processed; one
    -- that was called failed may have been made after all.
    status TEXT NOT NULL CHECK (status IN ('requested', 'failed', 'processed')),
    -- We have asked for it; otherwise an operator has, by hand.
    ours BOOLEAN NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
-- Serves: what the refunds of a payment add up to.
CREATE INDEX provider_refunds_of_payment ON provider_refunds (payment_id);

-- Disputes (chargebacks): a buyer's bank asks for a payment back. Razorpay tells of them by
-- webhooks, in any order.
CREATE TABLE disputes (
    -- disp_…
    dispute_id TEXT PRIMARY KEY,
    payment_id TEXT NOT NULL,
    -- Rule: a dispute is about money.
    amount_paise BIGINT NOT NULL CHECK (amount_paise > 0),
    currency TEXT NOT NULL,
    -- What the bank has taken of it at this moment. Rule: at most all of it.
    taken_paise BIGINT NOT NULL CHECK (taken_paise BETWEEN 0 AND amount_paise),
    -- Razorpay's own words, which may become more.
    phase TEXT NOT NULL,
    reason_code TEXT NOT NULL,
    -- Rule: the states of a dispute.
    status TEXT NOT NULL
        CHECK (status IN ('open', 'action_required', 'under_review', 'won', 'lost', 'closed')),
    -- How far it is: the stage only grows, and 3 is the end.
    stage SMALLINT NOT NULL CHECK (stage BETWEEN 0 AND 3),
    respond_by TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
-- Serves: what the disputes of a payment add up to.
CREATE INDEX disputes_of_payment ON disputes (payment_id);
-- Serves: the reconciler's search for disputes that have not ended.
CREATE INDEX disputes_undecided ON disputes (created_at) WHERE stage < 3;

-- What has left a payment in one way or another, is leaving it, or may leave it by the end of a
-- dispute; for good, or perhaps not.
CREATE VIEW money_back AS
SELECT payment_id, amount_paise AS paise, status = 'processed' AS is_final
FROM provider_refunds WHERE status <> 'failed'
UNION ALL
SELECT payment_id, CASE WHEN stage < 3 THEN amount_paise ELSE taken_paise END, stage = 3
FROM disputes WHERE stage < 3 OR taken_paise > 0;

-- Payments in our books that are another installation's. What the Node service has sold may have no
-- order here: then its booking tells.
CREATE VIEW copied_payments AS
SELECT p.payment_id, coalesce(o.installation, b.installation) AS installation
FROM payments p
LEFT JOIN payment_orders o ON o.order_id = p.order_id
LEFT JOIN bookings b ON b.id = p.booking_id
WHERE p.kind = 'capture'
  AND coalesce(o.installation, b.installation) <> (SELECT id FROM installation);

-- Money that is not as it should be. Nothing is lost by an alert that comes late or is not read: it
-- tells of what has been decided, or waits for a person.
CREATE TABLE payment_alerts (
    id BIGSERIAL PRIMARY KEY,
    -- Rule: the reasons for an alert.
    reason TEXT NOT NULL CHECK (
        reason IN ('amount_mismatch', 'unknown_order', 'lost_booking', 'other_installation',
                   'refunds_held', 'unreadable', 'foreign_refund', 'partial_refund', 'dispute_open',
                   'dispute_lost', 'refund_failed', 'refund_remainder', 'webhook_failed',
                   'provider_refuses_key')),
    -- The payment that it is about; the webhook, job or provider where there is none.
    subject TEXT NOT NULL,
    booking_id INTEGER,
    details TEXT NOT NULL,
    -- How often it has happened since the alert was raised: what another shop sells on our account
    -- goes on and on.
    cases INTEGER NOT NULL DEFAULT 1,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- An operator has dealt with it.
    closed_at TIMESTAMPTZ,
    -- Rule: one alert about a subject for a reason.
    CONSTRAINT payment_alerts_subject_key UNIQUE (reason, subject)
);
-- Serves: the operators' list.
CREATE INDEX payment_alerts_open ON payment_alerts (created_at) WHERE closed_at IS NULL;
-- Serves: the alerts of a payment, open or closed, for its story.
CREATE INDEX payment_alerts_subject ON payment_alerts (subject);
-- Serves: the alerts of a booking, for the story of its payment.
CREATE INDEX payment_alerts_booking ON payment_alerts (booking_id);
-- Serves: the cleanup job, which removes those that were closed long ago.
CREATE INDEX payment_alerts_closed ON payment_alerts (closed_at) WHERE closed_at IS NOT NULL;
