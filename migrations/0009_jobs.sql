-- The job ledger: outbox and history in one. The transaction that needs work done inserts a row;
-- Redis only carries its id to a worker.
--
--   pending --relay--> queued --claim--> running --+--> done
--      ^                  |                 |      +--> dead   (out of attempts, or discarded by its
--      +---- retry, snooze, rescue ---------+                    handler)
--
-- Operators cancel jobs that have not started or are dead, and revive dead and cancelled ones.

CREATE TYPE job_state AS ENUM ('pending', 'queued', 'running', 'done', 'dead', 'cancelled');

-- A job that is still to be run, or runs. PostgreSQL puts the bodies of this function and the next
-- into the statements that call them, so that the partial indexes over the live states serve these.
CREATE FUNCTION job_is_live(state job_state) RETURNS BOOLEAN IMMUTABLE PARALLEL SAFE LANGUAGE sql
    AS $$ SELECT state IN ('pending', 'queued', 'running') $$;

-- The unique key of a job that is about one row. The code makes the same keys.
CREATE FUNCTION job_key(kind TEXT, id BIGINT) RETURNS TEXT IMMUTABLE PARALLEL SAFE LANGUAGE sql
    AS $$ SELECT kind || ':' || id::text $$;

CREATE TABLE jobs (
    -- UUIDv7: ordered by time, so that inserts stay at the right edge of the index.
    id UUID PRIMARY KEY,
    -- No rule for queue and kind: a job whose kind the workers do not know waits for a worker of a
    -- newer release.
    queue TEXT NOT NULL,
    kind TEXT NOT NULL,
    payload JSONB NOT NULL,
    unique_key TEXT,
    state job_state NOT NULL DEFAULT 'pending',
    -- Lower runs first.
    priority SMALLINT NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 0,
    -- Rule: a job runs at least once.
    max_attempts INTEGER NOT NULL CHECK (max_attempts > 0),
    -- Each hand-over to Redis raises it: an older delivery that arrives late finds that it is no
    -- longer its turn.
    delivery INTEGER NOT NULL DEFAULT 0,
    available_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    queued_at TIMESTAMPTZ,
    leased_until TIMESTAMPTZ,
    worker TEXT,
    last_error TEXT,
    -- Every failed attempt: [{"attempt":1,"at":"…","error":"…"}].
    errors JSONB NOT NULL DEFAULT '[]',
    -- W3C traceparent of the request or job that has enqueued this one.
    trace_context TEXT,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    started_at TIMESTAMPTZ,
    finished_at TIMESTAMPTZ,
    -- Rule: a running job, and no other, has a lease.
    CONSTRAINT jobs_lease_check CHECK ((state = 'running') = (leased_until IS NOT NULL)),
    -- Rule: a job that is over, and no other, says since when.
    CONSTRAINT jobs_finished_check
        CHECK ((state IN ('done', 'dead', 'cancelled')) = (finished_at IS NOT NULL))
-- A job's row is updated four times in its short life, and each time its entries in the partial
-- indexes move. By default autovacuum comes when a fifth of the table is dead rows: the more
-- finished jobs are kept, the more the indexes of the few live ones would swell.
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- Rule: one live job for a unique key. Serves: enqueueing (ON CONFLICT), "is there a live job?".
CREATE UNIQUE INDEX jobs_unique_key ON jobs (unique_key)
    WHERE state IN ('pending', 'queued', 'running');
-- Serves: the relay's search for due jobs.
CREATE INDEX jobs_due ON jobs (queue, priority, available_at, id) WHERE state = 'pending';
-- Serves: the relay's count of jobs that are with the workers, the rescue of jobs whose worker died
-- or whose delivery was lost, and the counts for operators. It is ordered by time because vacuum
-- cannot remove the entries of jobs that have gone on while somebody holds an old snapshot (a
-- dump): the relay begins where the oldest job is that it knows of, and reads none of them.
CREATE INDEX jobs_taken ON jobs (queue, priority, queued_at) WHERE state IN ('queued', 'running');
-- Serves: the removal of old jobs, and the operators' lists of dead letters.
CREATE INDEX jobs_finished ON jobs (state, finished_at)
    WHERE state IN ('done', 'dead', 'cancelled');
-- Serves: the search for the dead letters of a payment; live jobs have jobs_unique_key.
CREATE INDEX jobs_dead_key ON jobs (unique_key) WHERE state = 'dead';

-- Jobs that may still do something: live ones, and dead letters, which an operator may have tried
-- again. Either part finds unique keys by an index of its own.
CREATE VIEW open_jobs AS
SELECT id, kind, unique_key, state, attempt, last_error, created_at
FROM jobs WHERE job_is_live(state)
UNION ALL
SELECT id, kind, unique_key, state, attempt, last_error, created_at
FROM jobs WHERE state = 'dead';

-- Appends a failed attempt to a job's history, which keeps the newest 50.
CREATE FUNCTION jobs_with_error(errors JSONB, attempt INTEGER, error TEXT) RETURNS JSONB
    LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN jsonb_array_length(errors) >= 50 THEN errors - 0 ELSE errors END
        || jsonb_build_object('attempt', attempt, 'at', now(), 'error', error)
$$;

-- Jobs that run by the clock: the start of the newest period for which a kind has been enqueued.
-- The worker that moves it enqueues the job.
CREATE TABLE job_schedule (
    kind TEXT PRIMARY KEY,
    last_tick TIMESTAMPTZ NOT NULL
);
