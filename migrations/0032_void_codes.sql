-- Codes of tickets that are good no more, for scanners that cannot ask.
--
-- Locks: who changes events or tickets, for milliseconds: no row is read.

-- Codes of tickets that are good no more: the ticket was cancelled, or has another code. A scanner
-- that is offline lets nobody in with them.
CREATE TABLE void_codes (
    event_id INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    ticket_id INTEGER NOT NULL,
    nonce BIGINT NOT NULL,
    -- As in check_ins.
    changed_by XID8 NOT NULL DEFAULT pg_current_xact_id(),
    -- Rule: a code becomes void once.
    PRIMARY KEY (ticket_id, nonce)
);
-- Serves: what has changed at an event's door; the deletion of the event.
CREATE INDEX void_codes_changed ON void_codes (event_id, changed_by);

-- Whoever cancels a ticket or gives it another code, the Node service too, says so here.
CREATE FUNCTION codes_become_void() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO void_codes (event_id, ticket_id, nonce)
    SELECT event_id, OLD.id, OLD.qr_nonce FROM bookings WHERE id = OLD.booking_id
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER codes_become_void AFTER UPDATE OF status, qr_nonce ON tickets FOR EACH ROW
    WHEN (OLD.qr_nonce IS NOT NULL AND OLD.status <> 'cancelled'
          AND (NEW.status = 'cancelled' OR NEW.qr_nonce IS DISTINCT FROM OLD.qr_nonce))
    EXECUTE FUNCTION codes_become_void();
