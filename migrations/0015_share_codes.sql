-- The code with which the organiser of a private event lets others know of it.
--
-- Locks: nobody can use events, for milliseconds: no row is read. A column with a random default
-- would be written into every row while everybody waits; so the default comes after the column, and
-- the next file fills the rows that exist.
ALTER TABLE events
    ADD COLUMN share_code UUID,
    -- Rule: every event has a code; one from before that ends before it starts gets its code when
    -- that is mended, because until then its row cannot be written. Checked by the next file.
    ADD CONSTRAINT events_have_share_code
        CHECK (share_code IS NOT NULL OR end_date < start_date) NOT VALID;
-- The Node service writes events, too, and knows no codes.
ALTER TABLE events ALTER COLUMN share_code SET DEFAULT gen_random_uuid();
CREATE FUNCTION events_get_share_code() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.share_code := gen_random_uuid();
    RETURN NEW;
END $$;
CREATE TRIGGER events_get_share_code BEFORE INSERT OR UPDATE ON events
    FOR EACH ROW WHEN (NEW.share_code IS NULL) EXECUTE FUNCTION events_get_share_code();

-- Who may know of an event, and hear of its seats and bookings: everybody, or its organiser and
-- whoever has the code, or its organiser alone.
CREATE FUNCTION event_visibility(event events) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN event.status = 'draft' THEN
            jsonb_build_object('draft', jsonb_build_object('organiser', event.organizer_id))
        WHEN event.is_public THEN '"open"'::jsonb
        ELSE jsonb_build_object('private', jsonb_build_object(
            'organiser', event.organizer_id,
            -- Without a code, nobody has it.
            'code', coalesce(event.share_code, gen_random_uuid())))
    END
$$;
