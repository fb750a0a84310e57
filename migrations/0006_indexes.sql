-- Indexes of the other tables of the Node service.
--
-- Locks: nobody can write to a table from its first index here until the end, about a second for
-- each index of a million rows; everybody can read.

-- Serves: the count of a user's seats of an event (max_tickets_per_user), at every lock, and the
-- seats of an event.
CREATE INDEX seats_holder ON seats (event_id, user_id);
-- Serves: the deletion of an account.
CREATE INDEX seats_user ON seats (user_id) WHERE user_id IS NOT NULL;
-- Serves: the expiry worker's search for locks that have run out, and for the next deadline.
CREATE INDEX seats_expiring ON seats (expires_at) WHERE status = 'locked';
-- Serves: a lock, which frees a few locks of its seat type that have run out, and their count in
-- seat_availability. Without it both read the locks of all events, or all seats of the type.
CREATE INDEX seats_type_expiring ON seats (event_seat_type_id, expires_at) WHERE status = 'locked';

-- Serves: list-admins, among millions of others.
CREATE INDEX users_with_role ON users (role) WHERE role <> 'user';

-- Tokens are kept as 'sha256:' and the hash in hexadecimal, unless the Node service has to find
-- them (SIDE_BY_SIDE=on). The cleanup job hashes those that are left.

-- Serves: the cleanup job, which removes what has expired.
CREATE INDEX refresh_tokens_expiring ON refresh_tokens (expires_at);
-- Serves: the cleanup job, which would read the whole table every time to find nothing to hash.
CREATE INDEX refresh_tokens_raw ON refresh_tokens (id) WHERE token NOT LIKE 'sha256:%';
-- Serves: the cleanup job, which removes what has expired.
CREATE INDEX blacklisted_tokens_expiring ON blacklisted_tokens (expires_at);
-- Serves: the cleanup job, which would read the whole table every time to find nothing to hash.
CREATE INDEX blacklisted_tokens_raw ON blacklisted_tokens (id) WHERE token NOT LIKE 'sha256:%';
-- Serves: the deletion of an account.
CREATE INDEX blacklisted_tokens_user ON blacklisted_tokens (user_id) WHERE user_id IS NOT NULL;

-- Serves: the cleanup job, which removes what has expired.
CREATE INDEX idempotency_keys_expiring ON idempotency_keys (expires_at);
-- Serves: the deletion of an account.
CREATE INDEX idempotency_keys_user ON idempotency_keys (user_id) WHERE user_id IS NOT NULL;
