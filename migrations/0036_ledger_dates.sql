-- Each row of the ledger is in exactly one daily file. A row used to be dated by the start of its transaction: one that was committed after midnight
-- was in the file of the day before, which somebody may have fetched by then.

-- The moment at which the row is written. The transaction has its number before that: so whoever exports what is dated before a moment that has
-- passed finds all of it once every transaction with a number that had been given by then has ended. See common/src/domain/ledger_export.rs.
CREATE FUNCTION ledger_time() RETURNS TIMESTAMPTZ VOLATILE LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_current_xact_id();
    RETURN clock_timestamp();
END $$;
ALTER TABLE payments ALTER COLUMN created_at SET DEFAULT ledger_time();

-- Serves: the export of a period, page by page.
CREATE INDEX payments_by_time ON payments (created_at, id);
