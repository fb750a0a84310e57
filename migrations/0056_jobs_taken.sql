-- While somebody holds an old snapshot (a dump), vacuum cannot remove the entries of jobs that have gone on, and whoever counts those that
-- are with the workers walked over all of them. By priority and time, a relay begins where the oldest is that it knows of.
--
-- A job is with the workers for seconds, so the index is small; building it reads the table once, for which enqueueing waits: about a second
-- for each million of finished jobs that are kept.

-- Serves: a relay's count of what is with the workers, the rescue of jobs whose worker died or whose delivery was lost, operators' counts.
CREATE INDEX jobs_taken ON jobs (queue, priority, queued_at) WHERE state IN ('queued', 'running');
DROP INDEX jobs_in_flight;
