-- Proof that the accounts that exist have one of the roles. Reads users while everybody uses it.
ALTER TABLE users VALIDATE CONSTRAINT users_role_check;
