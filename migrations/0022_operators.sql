-- Operators: how they log in to their pages, accounts that they have suspended, and events that they
-- have taken down.
--
-- Locks: nobody can use events and users, for milliseconds: no row is read. In the order in which
-- whoever locks a seat refers to them.
LOCK TABLE events, users IN ACCESS EXCLUSIVE MODE;

-- Sessions of the operators' pages.
CREATE TABLE operator_sessions (
    -- SHA-256 of the cookie.
    token_hash BYTEA PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- When its operator has last asked for a page.
    last_used_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- When its operator has last given a code of their authenticator.
    proved_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    expires_at TIMESTAMPTZ NOT NULL
);
-- Serves: the end of all sessions of an operator.
CREATE INDEX operator_sessions_user ON operator_sessions (user_id);
-- Serves: the cleanup job, which removes what has expired.
CREATE INDEX operator_sessions_expiring ON operator_sessions (expires_at);

-- What operators' authenticators share with us (RFC 6238).
CREATE TABLE operator_totps (
    user_id INTEGER PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    secret BYTEA NOT NULL,
    -- Rule: a code is good once. The time step of the newest one that was used.
    last_step BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

ALTER TABLE users
    -- Since when the account has been suspended; NULL: it is not.
    ADD COLUMN suspended_at TIMESTAMPTZ,
    DROP CONSTRAINT users_role_check,
    -- Rule: there are four roles. An auditor sees the operators' pages, and changes nothing.
    ADD CONSTRAINT users_role_check
        CHECK (role IN ('user', 'organiser', 'auditor', 'admin')) NOT VALID;
ALTER TABLE role_changes
    DROP CONSTRAINT role_changes_roles_check,
    ADD CONSTRAINT role_changes_roles_check CHECK (
        role_before IN ('user', 'organiser', 'auditor', 'admin')
        AND role_after IN ('user', 'organiser', 'auditor', 'admin'));

-- Who has lost the role, is suspended, or has all sessions ended, is not at the pages any more.
CREATE FUNCTION users_end_operator_sessions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM operator_sessions WHERE user_id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER users_end_operator_sessions
    AFTER UPDATE OF role, suspended_at, sessions_valid_from ON users FOR EACH ROW
    WHEN (NEW.role IS DISTINCT FROM OLD.role OR NEW.suspended_at IS DISTINCT FROM OLD.suspended_at
        OR NEW.sessions_valid_from IS DISTINCT FROM OLD.sessions_valid_from)
    EXECUTE FUNCTION users_end_operator_sessions();

-- Since when operators have taken the event down; NULL: they have not. Its organiser's alone, and not
-- on sale, whatever its organiser says.
ALTER TABLE events ADD COLUMN taken_down_at TIMESTAMPTZ;

-- As a draft, which the release before knows, too.
CREATE OR REPLACE FUNCTION event_visibility(event events) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN event.status = 'draft' OR event.taken_down_at IS NOT NULL THEN
            jsonb_build_object('draft', jsonb_build_object('organiser', event.organizer_id))
        WHEN event.is_public THEN '"open"'::jsonb
        ELSE jsonb_build_object('private', jsonb_build_object(
            'organiser', event.organizer_id,
            -- Without a code, nobody has it.
            'code', coalesce(event.share_code, gen_random_uuid())))
    END
$$;

-- Lists are others when an event is taken down.
DROP TRIGGER events_change_catalogue ON events;
CREATE CONSTRAINT TRIGGER events_change_catalogue
    AFTER INSERT OR DELETE OR UPDATE OF id, status, is_public, organizer_id, created_at, taken_down_at
    ON events DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION events_change_catalogue();
