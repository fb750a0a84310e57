-- What accounts hold, and have held, without paying for it: nobody keeps seats from others that they
-- do not buy.
--
-- Locks: who uses accounts, for milliseconds: no row is read.

-- Who has ever locked a seat. Two transactions that lock seats for one account, in two events, find
-- out by its row that they do.
CREATE TABLE seat_holders (
    user_id INTEGER PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    -- Counts the transactions that have locked seats for the account.
    version BIGINT NOT NULL DEFAULT 0,
    -- Rule: it only ever grows. A lock that was decided by an older version sets it to -1.
    CONSTRAINT seat_holders_version CHECK (version >= 0)
) WITH (fillfactor = 70);

-- Seats that were held, and are free again without having been paid for. Each is counted for a day.
-- It refers to nothing, so that who frees seats waits for nobody's account.
CREATE TABLE unpaid_holds (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id INTEGER NOT NULL,
    -- The booking that they were in. Should it be paid after all, the row goes.
    booking_id INTEGER,
    ended_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    -- How long each was held, all together.
    seat_seconds BIGINT NOT NULL,
    -- A booking has ended, or locks have run out; not, that a lock was given back.
    is_ending BOOLEAN NOT NULL
);
-- Serves: every lock, which looks at what its user has held in the last day.
CREATE INDEX unpaid_holds_user ON unpaid_holds (user_id, ended_at);
-- Serves: the cleanup job, which removes what is older.
CREATE INDEX unpaid_holds_ended ON unpaid_holds (ended_at);
