-- no-transaction
-- Events by their start, whatever has become of them.
--
-- Locks: nobody.

-- Serves: the search for events whose holders are to be forgotten.
CREATE INDEX CONCURRENTLY events_started ON events (start_date);
