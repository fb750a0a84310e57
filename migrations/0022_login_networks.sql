-- From where somebody has proven to be a user: an IPv4 address, or an IPv6 /64. Wrong passwords and codes from there are counted apart, so that
-- strangers' wrong ones do not keep the user out (docs/limits.md).
CREATE TABLE login_networks (
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    network TEXT NOT NULL,
    last_login_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, network)
);

-- For the cleanup of old ones.
CREATE INDEX login_networks_last_login ON login_networks (last_login_at);
