-- Whoever enqueues a job tells the relays after its commit (common/src/jobs/wakeups.rs). A NOTIFY within the transaction made all that enqueue
-- commit one after the other: PostgreSQL holds one lock of the whole installation for it until the log has been flushed.
-- Processes of the previous release, and whoever inserts by hand, wake nobody: their jobs are found by the relays' look, twice a second.
DROP TRIGGER jobs_wake_relay ON jobs;
DROP FUNCTION jobs_wake_relay();
