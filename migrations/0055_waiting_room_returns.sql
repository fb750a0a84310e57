-- Waiting rooms: when the seats of bookings that have ended return.
--
-- Locks: nobody can use a waiting room, for milliseconds.
ALTER TABLE waiting_rooms
    -- At the full multiples of it, by UTC; 0: at once.
    ADD COLUMN returns_every_seconds INTEGER NOT NULL DEFAULT 0 CHECK (returns_every_seconds BETWEEN 0 AND 3600);
