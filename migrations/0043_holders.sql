-- Who sits on a seat, and whose a ticket is, need not be who has booked it.
--
-- Locks: nobody can use events, booking_seats, tickets or users, for milliseconds: no row is read or
-- written.
LOCK TABLE events, booking_seats, tickets, users IN ACCESS EXCLUSIVE MODE;
ALTER TABLE events
    -- Until when holders can be named and tickets transferred; NULL: until the event starts.
    ADD COLUMN holders_until TIMESTAMPTZ;

ALTER TABLE booking_seats
    -- NULL: whoever the ticket belongs to.
    ADD COLUMN holder_name TEXT,
    -- What the organiser asks of holders.
    ADD COLUMN holder_details JSONB,
    -- Rule: an object, of a size that a form has. The code allows less, and no number that takes more
    -- room here than where it was written.
    ADD CONSTRAINT booking_seats_holder_check CHECK (
        length(holder_name) BETWEEN 1 AND 100
        AND jsonb_typeof(holder_details) = 'object' AND octet_length(holder_details::text) <= 8192) NOT VALID;

-- Rule: what is said of people is forgotten with their seat: the booking was cancelled, or expired.
CREATE FUNCTION holder_has_left() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.holder_name := NULL;
    NEW.holder_details := NULL;
    RETURN NEW;
END $$;
CREATE TRIGGER holder_has_left BEFORE UPDATE OF seat_id ON booking_seats FOR EACH ROW
    WHEN (NEW.seat_id IS NULL AND (OLD.holder_name IS NOT NULL OR OLD.holder_details IS NOT NULL))
    EXECUTE FUNCTION holder_has_left();

ALTER TABLE tickets
    -- Whose it is since it was transferred; NULL: its buyer's.
    ADD COLUMN owner_id INTEGER,
    ADD CONSTRAINT tickets_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) NOT VALID,
    -- Rule: the Node service shows what is stored to whoever has booked.
    ADD CONSTRAINT tickets_owner_picture_check CHECK (owner_id IS NULL OR qr_code IS NULL) NOT VALID;

-- Rule: which tickets can be given to somebody else, apart from until when.
CREATE FUNCTION is_transferable(ticket tickets, booking bookings, event events) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT ticket.status NOT IN ('cancelled', 'used') AND booking.status = 'confirmed'
        AND event.status = 'published' AND event.taken_down_at IS NULL
$$;

-- Rule: whoever had a ticket before cannot come in with it.
CREATE FUNCTION ticket_changes_hands() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE 'ticket % cannot change hands with this code and status', NEW.id
        USING ERRCODE = 'check_violation', CONSTRAINT = 'tickets_owner_has_own_code';
END $$;
CREATE TRIGGER ticket_changes_hands BEFORE UPDATE OF owner_id ON tickets FOR EACH ROW
    WHEN (NEW.owner_id IS DISTINCT FROM OLD.owner_id
          AND (NEW.qr_nonce IS NULL OR NEW.qr_nonce IS NOT DISTINCT FROM OLD.qr_nonce OR NEW.status IN ('cancelled', 'used')))
    EXECUTE FUNCTION ticket_changes_hands();

CREATE TABLE ticket_transfers (
    id INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ticket_id INTEGER NOT NULL REFERENCES tickets (id) ON DELETE CASCADE,
    from_id INTEGER NOT NULL REFERENCES users (id),
    -- Whoever has proved this address may accept; forgotten once somebody has, or nobody can.
    to_email TEXT,
    to_id INTEGER REFERENCES users (id),
    -- accepted: a job gives the ticket another code and another owner.
    status TEXT NOT NULL DEFAULT 'offered'
        CHECK (status IN ('offered', 'accepted', 'completed', 'withdrawn', 'declined', 'expired', 'failed')),
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- Nobody accepts it later.
    expires_at TIMESTAMPTZ NOT NULL DEFAULT now() + interval '30 days',
    ended_at TIMESTAMPTZ,
    -- Rule: nobody gives a ticket to themselves.
    CONSTRAINT ticket_transfers_other_check CHECK (to_id <> from_id),
    -- Rule: an address is kept while it is needed.
    CONSTRAINT ticket_transfers_to_email_check CHECK ((status = 'offered') = (to_email IS NOT NULL)),
    CONSTRAINT ticket_transfers_to_id_check CHECK (status NOT IN ('accepted', 'completed') OR to_id IS NOT NULL),
    CONSTRAINT ticket_transfers_ended_check CHECK ((status IN ('offered', 'accepted')) = (ended_at IS NULL))
);
-- Rule: a ticket is offered to one person at a time.
-- Serves: whether a ticket is offered to somebody.
CREATE UNIQUE INDEX ticket_transfers_one_open ON ticket_transfers (ticket_id)
    WHERE status IN ('offered', 'accepted');
-- Serves: the deletion of a ticket.
CREATE INDEX ticket_transfers_ticket ON ticket_transfers (ticket_id);
-- Serves: what a user has offered, the newest first.
CREATE INDEX ticket_transfers_from ON ticket_transfers (from_id, id);
-- Serves: what a user has been given, the newest first.
CREATE INDEX ticket_transfers_to ON ticket_transfers (to_id, id) WHERE to_id IS NOT NULL;
-- Serves: offers that nobody can accept any more.
CREATE INDEX ticket_transfers_expiring ON ticket_transfers (expires_at) WHERE status = 'offered';
-- Serves: what is offered to an address.
CREATE INDEX ticket_transfers_to_email ON ticket_transfers (to_email, id) WHERE to_email IS NOT NULL;

-- One row: the holders of events that have started by then were forgotten.
CREATE TABLE holders_forgotten (
    through TIMESTAMPTZ NOT NULL,
    is_only BOOLEAN NOT NULL DEFAULT TRUE PRIMARY KEY CHECK (is_only)
);
INSERT INTO holders_forgotten (through) VALUES (now() - interval '90 days');
