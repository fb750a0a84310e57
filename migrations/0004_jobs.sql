-- The job ledger: outbox and history in one (ARCHITECTURE.md, "The job ledger"). A row is inserted by the transaction that needs the
-- work done; Redis only carries its id to a worker.
--
--   pending --relay--> queued --claim--> running --+--> done
--      ^                  |                 |      +--> dead        (after max_attempts, or discarded by its handler)
--      +---- retry, snooze, rescue ---------+      +--> cancelled   (by an operator)

CREATE TYPE job_state AS ENUM ('pending', 'queued', 'running', 'done', 'dead', 'cancelled');

CREATE TABLE jobs (
    -- UUIDv7: time-ordered, so that inserts stay at the right edge of the index.
    id UUID PRIMARY KEY,
    queue TEXT NOT NULL,
    kind TEXT NOT NULL,
    payload JSONB NOT NULL,
    unique_key TEXT,
    state job_state NOT NULL DEFAULT 'pending',
    -- Lower runs first.
    priority SMALLINT NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 0,
    max_attempts INTEGER NOT NULL CHECK (max_attempts > 0),
    -- Raised by every hand-over to Redis; an older delivery that turns up late finds that it is no longer its turn.
    delivery INTEGER NOT NULL DEFAULT 0,
    available_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    queued_at TIMESTAMPTZ,
    leased_until TIMESTAMPTZ,
    worker TEXT,
    last_error TEXT,
    -- Every failed attempt: [{"attempt":1,"at":"…","error":"…"}].
    errors JSONB NOT NULL DEFAULT '[]',
    -- W3C traceparent of the request or job that enqueued this one.
    trace_context TEXT,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    started_at TIMESTAMPTZ,
    finished_at TIMESTAMPTZ,
    CONSTRAINT jobs_lease_check CHECK ((state = 'running') = (leased_until IS NOT NULL)),
    CONSTRAINT jobs_finished_check CHECK ((state IN ('done', 'dead', 'cancelled')) = (finished_at IS NOT NULL))
);

-- One live job per unique key.
CREATE UNIQUE INDEX jobs_unique_key ON jobs (unique_key) WHERE state IN ('pending', 'queued', 'running');
-- Serves: the relay's search for due jobs.
CREATE INDEX jobs_due ON jobs (queue, priority, available_at, id) WHERE state = 'pending';
-- Serves: the rescue of jobs whose worker died or whose delivery was lost.
CREATE INDEX jobs_in_flight ON jobs (queue, state) WHERE state IN ('queued', 'running');
-- Serves: pruning, and the operator's lists of dead letters.
CREATE INDEX jobs_finished ON jobs (state, finished_at) WHERE state IN ('done', 'dead', 'cancelled');

-- Appends a failed attempt to a job's history, which keeps the newest 50.
CREATE FUNCTION jobs_with_error(errors JSONB, attempt INTEGER, error TEXT) RETURNS JSONB LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN jsonb_array_length(errors) >= 50 THEN errors - 0 ELSE errors END
        || jsonb_build_object('attempt', attempt, 'at', now(), 'error', error)
$$;

-- Wakes the relay of the job's queue when the enqueuing transaction commits.
CREATE FUNCTION jobs_wake_relay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('nexus_jobs', queue) FROM (SELECT DISTINCT queue FROM inserted) q;
    RETURN NULL;
END $$;
CREATE TRIGGER jobs_wake_relay AFTER INSERT ON jobs
    REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION jobs_wake_relay();

-- Jobs that run by the clock: the start of the newest period for which a kind has been enqueued. Whichever worker moves it enqueues.
CREATE TABLE job_schedule (
    kind TEXT PRIMARY KEY,
    last_tick TIMESTAMPTZ NOT NULL
);
