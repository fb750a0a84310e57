-- A payment moves once in each way, and back once for each of its refunds.

-- While it is built the ledger can be read but not written: a second or so for a million rows. Then the constraint changes over in a moment.
CREATE UNIQUE INDEX payments_movement ON payments (payment_id, kind, source_id);
ALTER TABLE payments DROP CONSTRAINT payments_movement_key,
    ADD CONSTRAINT payments_movement_key UNIQUE USING INDEX payments_movement;
