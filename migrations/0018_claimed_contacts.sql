-- Who claims a contact that is not proven.
--
-- Locks: who registers or changes an account waits for as long as users is read twice, a second
-- with a million rows.
ALTER TABLE users VALIDATE CONSTRAINT users_one_email, VALIDATE CONSTRAINT users_one_phone;
-- Serves: logins and proofs.
CREATE INDEX users_claimed_email ON users (claimed_email) WHERE claimed_email IS NOT NULL;
-- Serves: the same.
CREATE INDEX users_claimed_phone ON users (claimed_phone) WHERE claimed_phone IS NOT NULL;
