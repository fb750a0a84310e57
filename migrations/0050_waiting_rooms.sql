-- Waiting rooms: who may buy an event's seats now, and who is next (docs/waiting-room.md).
--
-- Locks: nobody can write events or users, for milliseconds.
LOCK TABLE events, users IN SHARE ROW EXCLUSIVE MODE;

CREATE TABLE waiting_rooms (
    event_id INTEGER PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE,
    -- announced: before the draw; open: visitors are called; paused: nobody is called; closed: the
    -- event is sold to everybody.
    state TEXT NOT NULL DEFAULT 'announced' CHECK (state IN ('announced', 'open', 'paused', 'closed')),
    -- When those who are there by then are drawn.
    opens_at TIMESTAMPTZ NOT NULL,
    -- Nobody sees it before the draw.
    seed BYTEA NOT NULL CHECK (octet_length(seed) = 32),
    -- Rule: what everybody may see before is the hash of that very seed.
    commitment BYTEA NOT NULL GENERATED ALWAYS AS (sha256(seed)) STORED,
    drawn_at TIMESTAMPTZ,
    -- How many have joined before the draw, those who have left since included.
    early BIGINT NOT NULL DEFAULT 0,
    -- The last position that a visitor has been given, and the last that has been called.
    last_position BIGINT NOT NULL DEFAULT 0,
    called BIGINT NOT NULL DEFAULT 0,
    window_seconds INTEGER NOT NULL DEFAULT 600 CHECK (window_seconds BETWEEN 60 AND 3600),
    most_shoppers INTEGER NOT NULL DEFAULT 500 CHECK (most_shoppers BETWEEN 1 AND 1000000),
    -- How many visitors may be called in a minute, and how many are at present.
    most_calls INTEGER NOT NULL DEFAULT 600 CHECK (most_calls BETWEEN 1 AND 1000000),
    pace DOUBLE PRECISION NOT NULL,
    paced_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- How many might have been called since, and were not, or a part of one.
    stepped_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    credit DOUBLE PRECISION NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT waiting_rooms_called_check CHECK (called BETWEEN 0 AND last_position),
    CONSTRAINT waiting_rooms_pace_check CHECK (pace BETWEEN 1 AND most_calls),
    -- Rule: nobody has a position, or is called, before the draw.
    CONSTRAINT waiting_rooms_drawn_check CHECK (
        CASE state WHEN 'announced' THEN drawn_at IS NULL WHEN 'closed' THEN TRUE ELSE drawn_at IS NOT NULL END
        AND (drawn_at IS NOT NULL OR last_position = 0))
) WITH (fillfactor = 50);

-- An account in a waiting room. It waits until it is called, may buy until its window ends, and may
-- end its visit before.
CREATE TABLE waiting_room_visitors (
    event_id INTEGER NOT NULL REFERENCES waiting_rooms (event_id) ON DELETE CASCADE,
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- By which it is known in the draw, and says nothing about whose it is.
    id UUID NOT NULL DEFAULT gen_random_uuid(),
    joined_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    -- NULL: before the draw.
    position BIGINT CHECK (position > 0),
    called_at TIMESTAMPTZ,
    window_ends_at TIMESTAMPTZ,
    ended_at TIMESTAMPTZ,
    PRIMARY KEY (event_id, user_id),
    CONSTRAINT waiting_room_visitors_called_check CHECK (
        (called_at IS NULL) = (window_ends_at IS NULL) AND (called_at IS NULL OR position IS NOT NULL))
);
-- Rule: nobody has another's position.
-- Serves: whom a position belongs to.
CREATE UNIQUE INDEX waiting_room_visitors_position ON waiting_room_visitors (event_id, position);
-- Serves: who is called next; how many wait.
CREATE INDEX waiting_room_visitors_waiting ON waiting_room_visitors (event_id, position)
    WHERE called_at IS NULL AND ended_at IS NULL;
-- Serves: who may buy now.
CREATE INDEX waiting_room_visitors_shoppers ON waiting_room_visitors (event_id, window_ends_at)
    WHERE called_at IS NOT NULL AND ended_at IS NULL;
-- Serves: the export and the erasure of an account.
CREATE INDEX waiting_room_visitors_user ON waiting_room_visitors (user_id);

-- Rule: a position is for as long as a visit; another visit has another one.
CREATE FUNCTION position_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE 'visitor % of event % keeps their position', NEW.id, NEW.event_id
        USING ERRCODE = 'check_violation', CONSTRAINT = 'waiting_room_visitors_position_kept';
END $$;
CREATE TRIGGER position_is_kept BEFORE UPDATE OF position ON waiting_room_visitors FOR EACH ROW
    WHEN (OLD.position IS NOT NULL AND NEW.id = OLD.id AND NEW.position IS DISTINCT FROM OLD.position)
    EXECUTE FUNCTION position_is_kept();

-- What came of a draw: everything that it can be checked with, whatever becomes of its visitors.
CREATE TABLE waiting_room_draws (
    event_id INTEGER PRIMARY KEY REFERENCES waiting_rooms (event_id) ON DELETE CASCADE,
    -- The hash of all ids in their order, which the seed was not made for.
    list_digest BYTEA NOT NULL CHECK (octet_length(list_digest) = 32),
    -- In the order of their positions, from 1.
    visitors UUID[] NOT NULL
);

-- How much there is to do for API processes, which each of them says once a second.
CREATE UNLOGGED TABLE api_loads (
    process UUID PRIMARY KEY,
    reported_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- Buyers who were turned away in that second.
    turned_away BIGINT NOT NULL
);
