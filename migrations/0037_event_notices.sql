-- What the buyers of an event are told once: that its date or its place has changed, and that it is
-- tomorrow.
--
-- Locks: nobody can create, change or delete an event, for milliseconds: for the foreign key.
CREATE TABLE event_notices (
    id INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    -- Rule: what the code knows.
    kind TEXT NOT NULL CHECK (kind IN ('change', 'reminder')),
    -- The event as its buyers knew it before the change; for a reminder, as it was then.
    start_date TIMESTAMPTZ NOT NULL,
    time_zone TEXT NOT NULL CHECK (time_zone ~ '^[A-Za-z0-9_+/-]{1,64}$'),
    location VARCHAR(255) NOT NULL,
    venue_name VARCHAR(255),
    -- Who has booked later knows what has changed.
    changed_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- From here on, a further change is another notice.
    begun_at TIMESTAMPTZ,
    -- Bookings up to this one have been seen to.
    told_through INTEGER NOT NULL DEFAULT 0,
    finished_at TIMESTAMPTZ
);

-- Rule: changes in quick succession are one notice.
-- Serves: UPDATE event_notices … WHERE event_id AND kind = 'change' AND begun_at IS NULL
CREATE UNIQUE INDEX event_notices_waiting ON event_notices (event_id) WHERE kind = 'change' AND begun_at IS NULL;

-- Rule: nobody is reminded of the same date twice.
-- Serves: INSERT INTO event_notices … ON CONFLICT (event_id, start_date)
CREATE UNIQUE INDEX event_notices_reminders ON event_notices (event_id, start_date) WHERE kind = 'reminder';

-- Serves: SELECT max(begun_at) FROM event_notices WHERE event_id; DELETE FROM events (the foreign key)
CREATE INDEX event_notices_of_event ON event_notices (event_id, begun_at);

-- Serves: DELETE FROM event_notices WHERE finished_at <
CREATE INDEX event_notices_finished ON event_notices (finished_at);
