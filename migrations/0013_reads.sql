-- What API processes need to answer reads from memory: a cheap way to ask whether what they have
-- read before is still so.

-- The stamp of an event changes with everything that is shown of it: its own row, its organiser's,
-- those of its seat types, and what is left of them. Every version of a row has the xmin of the
-- transaction that wrote it, whoever that was; so no writer has to do anything for it, and none can
-- forget to.
CREATE VIEW event_stamps AS
SELECT e.id AS event_id,
       hash_record_extended(ROW (e.xmin, u.xmin, seats.stamp), 0) AS stamp
FROM events e
JOIN users u ON u.id = e.organizer_id
LEFT JOIN LATERAL (
    SELECT bit_xor(hash_record_extended(ROW (t.id, t.xmin, (
               -- A lock that has run out counts as free, as in seat_availability.
               SELECT count(*) FROM seats s
               WHERE s.event_seat_type_id = t.id AND s.status = 'locked' AND s.expires_at <= now()
           )), 0)) AS stamp
    FROM event_seat_types t WHERE t.event_id = e.id
) seats ON TRUE;

-- Which events there are, in which order, and who sees them: the transaction that last changed
-- that. A list of events, and their number, are the same for as long as this is.
CREATE TABLE event_catalogue (
    -- Rule: there is one row.
    one BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one),
    changed_by XID8 NOT NULL DEFAULT pg_current_xact_id()
) WITH (fillfactor = 10);

CREATE FUNCTION events_change_catalogue() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE event_catalogue SET changed_by = pg_current_xact_id()
    WHERE changed_by <> pg_current_xact_id();
    RETURN NULL;
END $$;
-- At the commit, so that transactions wait for one another only for as long as a commit takes, and
-- none that holds the row waits for anything else.
CREATE CONSTRAINT TRIGGER events_change_catalogue
    AFTER INSERT OR DELETE OR UPDATE OF id, status, is_public, organizer_id, created_at ON events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION events_change_catalogue();
-- The row last: what changes before the triggers are there is older than it.
INSERT INTO event_catalogue DEFAULT VALUES;
