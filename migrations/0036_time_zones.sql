-- Where an event takes place, clocks show another time than UTC.
--
-- Locks: nobody can use events or cancellation_notices, for milliseconds: no row is read or written.
ALTER TABLE events
    -- A name of the IANA database. Events that do not say are where this service began, also those
    -- that the Node service and earlier releases create.
    ADD COLUMN time_zone TEXT NOT NULL DEFAULT 'Asia/Kolkata',
    -- Rule: the form of a name; the code knows the names.
    ADD CONSTRAINT events_time_zone_check CHECK (time_zone ~ '^[A-Za-z0-9_+/-]{1,64}$') NOT VALID;

ALTER TABLE cancellation_notices
    ADD COLUMN time_zone TEXT NOT NULL DEFAULT 'Asia/Kolkata',
    -- Rule: as for events.
    ADD CONSTRAINT cancellation_notices_time_zone_check CHECK (time_zone ~ '^[A-Za-z0-9_+/-]{1,64}$') NOT VALID;
