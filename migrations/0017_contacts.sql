-- Which contacts an account has proven, and those that it shares with others until one proves them.
--
-- Locks: nobody can use users, for milliseconds: no row is read.
ALTER TABLE users
    -- Since when a code or link that was mailed there has proved the e-mail address; only such
    -- addresses get mail about bookings. Those that exist count as proved, because their owners
    -- have had their tickets there until now; but nobody has proved them, so they do not keep an
    -- account from the owner of its phone.
    ADD COLUMN email_verified_at TIMESTAMPTZ DEFAULT '-infinity',
    -- A contact that another account has, too, and that neither has proved. Who proves it gets it
    -- as email or phone, and the others lose it.
    ADD COLUMN claimed_email VARCHAR(255),
    ADD COLUMN claimed_phone VARCHAR(20),
    -- Rule: an account has one address and one number.
    ADD CONSTRAINT users_one_email CHECK (email IS NULL OR claimed_email IS NULL) NOT VALID,
    ADD CONSTRAINT users_one_phone CHECK (phone IS NULL OR claimed_phone IS NULL) NOT VALID;
ALTER TABLE users ALTER COLUMN email_verified_at DROP DEFAULT;

-- Another contact is not proved by the proof of the one before, whoever writes it.
CREATE FUNCTION users_contact_unproved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.email IS DISTINCT FROM OLD.email
        AND NEW.email_verified_at IS NOT DISTINCT FROM OLD.email_verified_at THEN
        NEW.email_verified_at := NULL;
    END IF;
    IF NEW.phone IS DISTINCT FROM OLD.phone
        AND NEW.phone_verified_at IS NOT DISTINCT FROM OLD.phone_verified_at THEN
        NEW.phone_verified_at := NULL;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER users_contact_unproved BEFORE UPDATE OF email, phone ON users
    FOR EACH ROW EXECUTE FUNCTION users_contact_unproved();

-- Links and codes that were mailed to an address, whose owner proves with them to have it.
CREATE TABLE email_proofs (
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- verify: the address becomes the account's own. recover: its owner sets another password.
    purpose TEXT NOT NULL,
    email TEXT NOT NULL,
    -- SHA-256 of what the newest mail says; NULL until it is sent. The code is for who is logged in
    -- to the account.
    link_hash BYTEA UNIQUE,
    code_hash BYTEA,
    -- How often a code has been tried since that mail.
    attempts SMALLINT NOT NULL DEFAULT 0,
    expires_at TIMESTAMPTZ NOT NULL,
    -- Serves: an account's own.
    PRIMARY KEY (user_id, purpose),
    -- Rule: there are two purposes.
    CONSTRAINT email_proofs_purpose_check CHECK (purpose IN ('verify', 'recover'))
);
-- Serves: the cleanup job, which removes what has expired.
CREATE INDEX email_proofs_expiring ON email_proofs (expires_at);
-- Serves: the proof of an address, which ends those of other accounts for it.
CREATE INDEX email_proofs_email ON email_proofs (email);
