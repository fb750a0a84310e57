-- From which networks seats are held and not paid for.
--
-- Locks: who uses seats or frees them, for milliseconds: no row is read.

-- The network from which a seat was locked, as a keyed hash; not of a seat that is booked.
ALTER TABLE seats ADD COLUMN network BIGINT;
-- The same of seats that are free again, for as long as the row is kept, which may be longer than
-- its account is.
ALTER TABLE unpaid_holds
    ADD COLUMN network BIGINT,
    -- How long each was held, all together. seat_seconds counts at least a minute for each, and is
    -- the account's.
    ADD COLUMN held_seconds BIGINT,
    ALTER COLUMN user_id DROP NOT NULL;
