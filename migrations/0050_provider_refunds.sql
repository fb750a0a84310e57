-- A payment may go back in several parts, some of which somebody makes at Razorpay by hand. `refunds` says what a payment is owed back, once per
-- payment; here is each refund that Razorpay has made, is making, or could not make.

-- First, as whoever settles a payment takes the ledger before the refunds. The refund that a row of the ledger is about; '' for other kinds of rows, and for refunds of the release before, which were always the whole.
ALTER TABLE payments ADD COLUMN source_id TEXT NOT NULL DEFAULT '';

CREATE TABLE provider_refunds (
    -- rfnd_…
    refund_id TEXT PRIMARY KEY,
    payment_id TEXT NOT NULL,
    amount_paise BIGINT NOT NULL CHECK (amount_paise > 0),
    -- Only moves forward: requested, then failed or processed; what was called failed may have been made after all.
    status TEXT NOT NULL CHECK (status IN ('requested', 'failed', 'processed')),
    -- We have asked for it; otherwise somebody has, at Razorpay.
    ours BOOLEAN NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
-- Serves: what a payment's refunds add up to.
CREATE INDEX provider_refunds_of_payment ON provider_refunds (payment_id);

-- What processes of the release before write of a refund, which to them is the whole payment's.
CREATE FUNCTION refunds_tell_provider_refunds() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO provider_refunds AS known (refund_id, payment_id, amount_paise, status, ours)
    SELECT failed, NEW.payment_id, NEW.amount_paise, 'failed', TRUE FROM unnest(NEW.failed_ids) AS failed
    ON CONFLICT (refund_id) DO UPDATE SET status = 'failed', updated_at = now() WHERE known.status = 'requested';
    IF NEW.refund_id IS NOT NULL AND NEW.status IN ('requested', 'processed') THEN
        INSERT INTO provider_refunds AS known (refund_id, payment_id, amount_paise, status, ours)
        VALUES (NEW.refund_id, NEW.payment_id, NEW.amount_paise, NEW.status, NEW.reason <> 'not_ours')
        ON CONFLICT (refund_id) DO UPDATE SET status = 'processed', updated_at = now()
            WHERE known.status <> 'processed' AND excluded.status = 'processed';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER refunds_tell_provider_refunds AFTER INSERT OR UPDATE OF status, refund_id, failed_ids ON refunds
    FOR EACH ROW EXECUTE FUNCTION refunds_tell_provider_refunds();

INSERT INTO provider_refunds (refund_id, payment_id, amount_paise, status, ours, created_at, updated_at)
SELECT failed, payment_id, amount_paise, 'failed', TRUE, created_at, updated_at FROM refunds, unnest(failed_ids) AS failed
UNION
SELECT refund_id, payment_id, amount_paise, status, reason <> 'not_ours', created_at, updated_at FROM refunds
WHERE refund_id IS NOT NULL AND status IN ('requested', 'processed')
ON CONFLICT DO NOTHING;

-- No more goes back than was captured, whatever anybody says, and however many write at once.
CREATE FUNCTION payments_refunds_within_capture() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    captured BIGINT;
    returned BIGINT;
BEGIN
    -- The lock under which everything about a payment is decided: see `hold_state`.
    PERFORM pg_advisory_xact_lock(hashtextextended('payment:' || NEW.payment_id, 0));
    SELECT sum(amount_paise) FILTER (WHERE kind = 'capture'), -coalesce(sum(amount_paise) FILTER (WHERE kind = 'refund'), 0)
    INTO captured, returned FROM payments WHERE payment_id = NEW.payment_id;
    IF returned - NEW.amount_paise > captured THEN
        RAISE EXCEPTION 'refunds of % would exceed what was captured', NEW.payment_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_refunds_within_capture';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER payments_refunds_within_capture BEFORE INSERT ON payments
    FOR EACH ROW WHEN (NEW.kind = 'refund') EXECUTE FUNCTION payments_refunds_within_capture();
