-- Organisers: whoever may create events where EVENT_CREATION=organisers. And who has been given which role, when, and by whom.

ALTER TABLE users DROP CONSTRAINT users_role_check;
ALTER TABLE users ADD CONSTRAINT users_role_check CHECK (role IN ('user', 'organiser', 'admin'));

-- Append-only, and outlives the account.
CREATE TABLE role_changes (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id INTEGER NOT NULL,
    role_before TEXT NOT NULL,
    role_after TEXT NOT NULL,
    -- The database's name for the operator: give each their own.
    changed_by TEXT NOT NULL DEFAULT session_user,
    changed_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
-- Serves: nexus-api show-account.
CREATE INDEX role_changes_user ON role_changes (user_id);
-- Serves: nexus-api list-admins, among millions of others.
CREATE INDEX users_with_role ON users (role) WHERE role <> 'user';
