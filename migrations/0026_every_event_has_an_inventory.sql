-- Every event has its row in event_inventory from its first moment. It used to be inserted by the first who changed the event's counts, and
-- whoever waited there for the event's deletion to end inserted it again: a violated foreign key, for a whole group of locks. Now opening an
-- inventory is an update, which finds nothing where the event is gone.
CREATE FUNCTION events_have_inventory() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- A process of the previous release inserts it, too, when it comes to that.
    INSERT INTO event_inventory (event_id) VALUES (NEW.id) ON CONFLICT (event_id) DO NOTHING;
    RETURN NULL;
END $$;
-- The trigger first: it waits for events that are being created, and no event can come between it and the backfill.
CREATE TRIGGER events_have_inventory AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION events_have_inventory();
INSERT INTO event_inventory (event_id) SELECT id FROM events ORDER BY id ON CONFLICT (event_id) DO NOTHING;
