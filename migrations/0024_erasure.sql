-- Accounts whose owners have had them erased, what is never deleted along with something else, and
-- what an organiser may ask of buyers.
--
-- Locks: nobody can use bookings, events, users and webhook_events, for milliseconds: no row is
-- read.
LOCK TABLE bookings, events, users, webhook_events IN ACCESS EXCLUSIVE MODE;

ALTER TABLE users
    -- Since when nobody is behind the account any more. The row stays, because bookings and the
    -- ledger refer to it.
    ADD COLUMN erased_at TIMESTAMPTZ,
    -- Rule: an erased account says nothing about anybody, and nobody gives it a contact, a password
    -- or a role again.
    ADD CONSTRAINT users_erased_check CHECK (
        erased_at IS NULL
        OR (num_nonnulls(username, name, email, claimed_email, phone, claimed_phone, password,
                         address, city, state, zip, country) = 0
            AND role = 'user')) NOT VALID;

ALTER TABLE events
    -- Only accounts with a proved phone lock and book seats.
    ADD COLUMN require_verified_phone BOOLEAN NOT NULL DEFAULT FALSE;

ALTER TABLE webhook_events
    -- FALSE once the body is emptied, which has personal data; the row is still known.
    ADD COLUMN has_body BOOLEAN NOT NULL DEFAULT TRUE;

-- Rule: whoever has bookings or events is not deleted: with an organiser went the events, and with
-- these the bookings that others had paid for. The names of the old keys are not known, where the
-- Node service has made them.
DO $$
DECLARE
    reference RECORD;
BEGIN
    FOR reference IN
        SELECT conname, conrelid::regclass AS referring FROM pg_constraint
        WHERE contype = 'f' AND confrelid = 'users'::regclass
          AND conrelid IN ('events'::regclass, 'bookings'::regclass)
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', reference.referring, reference.conname);
    END LOOP;
END $$;
ALTER TABLE events ADD CONSTRAINT events_organizer_id_fkey
    FOREIGN KEY (organizer_id) REFERENCES users (id) NOT VALID;
ALTER TABLE bookings ADD CONSTRAINT bookings_user_id_fkey
    FOREIGN KEY (user_id) REFERENCES users (id) NOT VALID;

-- Rule: a booking that somebody has paid for is not deleted, neither by itself nor with its event.
-- It is cancelled first, so that the money goes back. (An event takes its other bookings along:
-- those that expired or were cancelled.)
CREATE FUNCTION bookings_keep_confirmed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'booking % is confirmed: cancel it before it is deleted', OLD.id
        USING ERRCODE = 'restrict_violation', CONSTRAINT = 'bookings_keep_confirmed';
END $$;
CREATE TRIGGER bookings_keep_confirmed BEFORE DELETE ON bookings
    FOR EACH ROW WHEN (OLD.status = 'confirmed') EXECUTE FUNCTION bookings_keep_confirmed();
