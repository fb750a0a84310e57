-- A payment moves once in each way, and back once for each of its refunds.

-- The old constraint goes first: until the end nobody can read or write the ledger, for a second or so per million rows. Whoever could only read it
-- would wait to write, and the change over for them.
ALTER TABLE payments DROP CONSTRAINT payments_movement_key;
ALTER TABLE payments ADD CONSTRAINT payments_movement_key UNIQUE (payment_id, kind, source_id);
