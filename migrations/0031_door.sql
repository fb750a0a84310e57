-- The door: who lets people in, with which keys tickets are checked, and who is in.
--
-- Locks: who changes events, accounts or tickets, for milliseconds: no row is read.

-- The public halves of the keys that sign tickets. A process that signs puts its own here first.
CREATE TABLE ticket_keys (
    -- Rule: the id follows from the key, and is part of each text that it signs.
    id TEXT PRIMARY KEY CHECK (id ~ '^[0-9a-f]{8}$'),
    public_key BYTEA NOT NULL CHECK (octet_length(public_key) = 32),
    added_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- Somebody else may have the private half: what it has signed is worth nothing.
    revoked_at TIMESTAMPTZ
);

-- Entrances of an event.
CREATE TABLE gates (
    id INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    name VARCHAR(100) NOT NULL,
    -- The seat types that come in here; NULL: all of them. A type that is deleted has no tickets.
    seat_type_ids INTEGER[],
    -- As in check_ins.
    changed_by XID8 NOT NULL DEFAULT pg_current_xact_id(),
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- Rule: people tell gates by their names. Serves: the gates of an event.
    CONSTRAINT gates_name_key UNIQUE (event_id, name),
    CONSTRAINT gates_seat_types CHECK (cardinality(seat_type_ids) > 0)
);

-- Accounts that may let people in to an event, besides its organiser's.
CREATE TABLE event_staff (
    event_id INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- The address or number by which the organiser has named them.
    named_as VARCHAR(255) NOT NULL,
    added_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (event_id, user_id)
);
-- Serves: the deletion of an account.
CREATE INDEX event_staff_user ON event_staff (user_id);

-- Tokens for devices that let people in to one event, and do nothing else.
CREATE TABLE door_keys (
    id INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    -- The gate at which the device is; NULL: it says itself.
    gate_id INTEGER REFERENCES gates (id),
    name VARCHAR(100) NOT NULL,
    -- Rule: a token is of one key. Serves: every request of a device.
    hash BYTEA NOT NULL CONSTRAINT door_keys_hash_key UNIQUE,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    revoked_at TIMESTAMPTZ
);
-- Serves: the keys of an event.
CREATE INDEX door_keys_event ON door_keys (event_id);
-- Serves: the deletion of a gate.
CREATE INDEX door_keys_gate ON door_keys (gate_id) WHERE gate_id IS NOT NULL;

-- Who was let in, where and when.
CREATE TABLE check_ins (
    event_id INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    -- Chosen by whoever scans, so that a scan that is sent again is the same.
    scan_id UUID NOT NULL,
    ticket_id INTEGER NOT NULL REFERENCES tickets (id) ON DELETE CASCADE,
    -- Of the ticket's seat.
    seat_type_id INTEGER,
    gate_id INTEGER REFERENCES gates (id),
    -- Who has scanned: a device, or an account.
    door_key_id INTEGER REFERENCES door_keys (id),
    user_id INTEGER REFERENCES users (id),
    -- The ticket was found in a list, and not scanned.
    by_hand BOOLEAN NOT NULL,
    -- By the clock of the device, if it was offline.
    scanned_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    received_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    -- Why a scanner that is online would not have let somebody in; one that was offline has. NULL:
    -- the check-in counts.
    conflict TEXT CONSTRAINT check_ins_conflict CHECK (conflict IN ('already_used', 'void')),
    undone_at TIMESTAMPTZ,
    -- The transaction that last changed the row. Scanners ask for what has changed since.
    changed_by XID8 NOT NULL DEFAULT pg_current_xact_id(),
    -- Rule: a scan is recorded once. Serves: the check-ins of an event, and their undoing.
    PRIMARY KEY (event_id, scan_id),
    CONSTRAINT check_ins_by CHECK (num_nonnulls(door_key_id, user_id) = 1)
);
-- Rule: a ticket lets one person in. Serves: a second scan of a ticket, which is told of the first.
CREATE UNIQUE INDEX check_ins_one_entry ON check_ins (ticket_id)
    WHERE undone_at IS NULL AND conflict IS NULL;
-- Serves: the deletion of a booking with its tickets, and the export of an account.
CREATE INDEX check_ins_ticket ON check_ins (ticket_id);
-- Serves: the counts of an event's door.
CREATE INDEX check_ins_counts ON check_ins (event_id, gate_id, seat_type_id)
    WHERE undone_at IS NULL AND conflict IS NULL;
-- Serves: the conflicts of an event, for its organiser.
CREATE INDEX check_ins_conflicts ON check_ins (event_id, received_at) WHERE conflict IS NOT NULL;
-- Serves: what has changed at an event's door, for scanners that may be offline.
CREATE INDEX check_ins_changed ON check_ins (event_id, changed_by);
-- Serves: the deletion of a gate.
CREATE INDEX check_ins_gate ON check_ins (gate_id) WHERE gate_id IS NOT NULL;
-- Serves: the deletion of an event with its door keys.
CREATE INDEX check_ins_door_key ON check_ins (door_key_id) WHERE door_key_id IS NOT NULL;
-- Serves: the export of an account, and its deletion.
CREATE INDEX check_ins_user ON check_ins (user_id) WHERE user_id IS NOT NULL;
