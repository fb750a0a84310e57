-- Who may do what beyond their own affairs: users buy and organise; admins operate the installation.
ALTER TABLE users
    ADD COLUMN role TEXT NOT NULL DEFAULT 'user',
    ADD CONSTRAINT users_role_check CHECK (role IN ('user', 'admin'));
