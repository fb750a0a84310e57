-- no-transaction
-- Tickets that were transferred: a few of all.
--
-- Locks: nobody.

-- Serves: the tickets that others have given to a user; the foreign key.
CREATE INDEX CONCURRENTLY tickets_owned ON tickets (owner_id, id) WHERE owner_id IS NOT NULL;
