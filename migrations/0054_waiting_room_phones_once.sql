-- no-transaction
-- Waiting rooms: one place for each proved phone.
--
-- Locks: nobody.

-- Rule: a phone has one place in a room, whoever it belongs to next.
-- Serves: whether a phone has one.
CREATE UNIQUE INDEX CONCURRENTLY waiting_room_visitors_phone ON waiting_room_visitors (event_id, phone) WHERE phone IS NOT NULL;
