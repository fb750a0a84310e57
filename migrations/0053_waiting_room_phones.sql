-- Waiting rooms: one place for each proved phone.
--
-- Locks: nobody can use a waiting room, for milliseconds.
ALTER TABLE waiting_rooms ADD COLUMN needs_phone BOOLEAN NOT NULL DEFAULT FALSE;
-- With which an account has joined a room that needs one; forgotten when it leaves.
ALTER TABLE waiting_room_visitors ADD COLUMN phone VARCHAR(20);
