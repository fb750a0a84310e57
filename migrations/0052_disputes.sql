-- Disputes (chargebacks): a buyer's bank asks for a payment back. Razorpay tells of them by webhooks, in any order.

CREATE TABLE disputes (
    -- disp_…
    dispute_id TEXT PRIMARY KEY,
    payment_id TEXT NOT NULL,
    amount_paise BIGINT NOT NULL CHECK (amount_paise > 0),
    currency TEXT NOT NULL,
    -- What the bank has taken of it at this moment.
    taken_paise BIGINT NOT NULL CHECK (taken_paise BETWEEN 0 AND amount_paise),
    phase TEXT NOT NULL,
    reason_code TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('open', 'action_required', 'under_review', 'won', 'lost', 'closed')),
    -- How far that is: it only grows. 3 is the end.
    stage SMALLINT NOT NULL CHECK (stage BETWEEN 0 AND 3),
    respond_by TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
-- Serves: what a payment's disputes add up to.
CREATE INDEX disputes_of_payment ON disputes (payment_id);
-- Serves: the reconciler's search for disputes that have not ended.
CREATE INDEX disputes_undecided ON disputes (created_at) WHERE stage < 3;

-- Money that a bank takes for a dispute, and gives back when it is won, is in the ledger, too:
--   dispute            -  the bank took it
--   dispute_reversal   +  the bank gave it back
-- Rows that are there obey both constraints already; the next migration says so.
ALTER TABLE payments DROP CONSTRAINT payments_kind_check, DROP CONSTRAINT payments_sign_check,
    ADD CONSTRAINT payments_kind_check
        CHECK (kind IN ('capture', 'sale', 'sale_reversal', 'refund', 'dispute', 'dispute_reversal')) NOT VALID,
    ADD CONSTRAINT payments_sign_check
        CHECK ((kind IN ('capture', 'sale_reversal', 'dispute_reversal')) = (amount_paise > 0) AND amount_paise <> 0) NOT VALID;

-- What has left a payment in one way or another, is leaving it, or may leave it by the end of a dispute; for good, or perhaps not.
CREATE VIEW money_back AS
SELECT payment_id, amount_paise AS paise, status = 'processed' AS is_final FROM provider_refunds WHERE status <> 'failed'
UNION ALL
SELECT payment_id, CASE WHEN stage < 3 THEN amount_paise ELSE taken_paise END, stage = 3 FROM disputes WHERE stage < 3 OR taken_paise > 0;
