//! PostgreSQL: its address, its proof of identity, and the number of connections per process.

use std::{fmt, time::Duration};

use reqwest::Url;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::{Env, env, secrets};

#[derive(Clone)]
pub struct Database {
    /// DATABASE_URL, DATABASE_CA_FILE and DATABASE_TLS.
    pub connection: PgConnectOptions,
    /// DATABASE_MAX_CONNECTIONS
    pub max_connections: u32,
    /// DATABASE_ACQUIRE_TIMEOUT_MS: how long a request waits for a connection, including the time
    /// to open a new one, before it is answered 503.
    pub acquire_timeout: Duration,
    /// DATABASE_IDLE_SECONDS: a connection that has been idle for this long is closed.
    pub idle: Duration,
    /// DATABASE_MAX_LIFETIME_SECONDS: the longest life of a connection, so that a server that has
    /// moved or changed is found.
    pub max_lifetime: Duration,
    /// DATABASE_STATEMENT_TIMEOUT_MS: PostgreSQL cancels statements that take longer.
    pub statement_timeout: Duration,
    /// DATABASE_LOCK_TIMEOUT_MS: PostgreSQL cancels statements that wait longer for a lock.
    pub lock_timeout: Duration,
}

impl Database {
    /// A database with the usual limits.
    pub fn at(connection: PgConnectOptions, max_connections: u32) -> Self {
        Database {
            connection,
            max_connections,
            acquire_timeout: Duration::from_secs(3),
            idle: Duration::from_secs(300),
            max_lifetime: Duration::from_secs(1_800),
            statement_timeout: Duration::from_secs(15),
            lock_timeout: Duration::from_secs(10),
        }
    }

    /// Reads the group.
    pub fn from_env(env: &mut Env, default_connections: u32) -> Self {
        let usual = Database::at(connection(env), default_connections);
        let connections = u64::from(default_connections);
        let mut milliseconds = |name, usual: Duration, least, most| {
            env.milliseconds(name, usual.as_millis() as u64, least, most)
        };
        let acquire_timeout =
            milliseconds("DATABASE_ACQUIRE_TIMEOUT_MS", usual.acquire_timeout, 100, 60_000);
        let statement_timeout =
            milliseconds("DATABASE_STATEMENT_TIMEOUT_MS", usual.statement_timeout, 100, 600_000);
        let lock_timeout =
            milliseconds("DATABASE_LOCK_TIMEOUT_MS", usual.lock_timeout, 100, 600_000);
        let mut seconds = |name, usual: Duration| {
            Duration::from_secs(env.between(name, usual.as_secs(), 1, 86_400))
        };
        Database {
            idle: seconds("DATABASE_IDLE_SECONDS", usual.idle),
            max_lifetime: seconds("DATABASE_MAX_LIFETIME_SECONDS", usual.max_lifetime),
            max_connections: env.between("DATABASE_MAX_CONNECTIONS", connections, 2, 1000) as u32,
            acquire_timeout,
            statement_timeout,
            lock_timeout,
            ..usual
        }
    }
}

impl fmt::Debug for Database {
    /// The connection's options hold the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("max_connections", &self.max_connections)
            .finish_non_exhaustive()
    }
}

/// Parsed only here: the parser logs a warning about each option that it does not know, with its
/// value, and at this point there is no log yet.
fn connection(env: &mut Env) -> PgConnectOptions {
    let url = env.url("DATABASE_URL", None, &["postgres", "postgresql"]);
    let tls = super::tls_required(env, "DATABASE_TLS");
    let ca = env.certificates("DATABASE_CA_FILE");
    secrets::check_password(env, "DATABASE_URL", &url);
    let Ok(options) = url.parse::<PgConnectOptions>() else {
        if !url.is_empty() {
            env.problem("DATABASE_URL has a part that is not understood");
        }
        return PgConnectOptions::new_without_pgpass();
    };
    let (says_mode, names_ca) =
        (has_parameter(&url, "sslmode"), has_parameter(&url, "sslrootcert"));
    if options.get_socket().is_some() {
        // On the same machine there is no need for TLS.
        return options;
    }
    let is_local = env::is_local_host(options.get_host());
    let required = tls.unwrap_or(env.production && !is_local);
    if required && says_mode && !matches!(options.get_ssl_mode(), PgSslMode::VerifyFull) {
        env.problem(
            "DATABASE_URL must not say another sslmode than verify-full in production (DATABASE_TLS=optional allows it)",
        );
    }
    // Naming a CA implies that it must be checked.
    let options = match required || (!says_mode && (ca.is_some() || names_ca)) {
        true => options.ssl_mode(PgSslMode::VerifyFull),
        false => options,
    };
    match ca {
        Some(pem) => options.ssl_root_cert_from_pem(pem),
        None => options,
    }
}

fn has_parameter(url: &str, name: &str) -> bool {
    Url::parse(url).is_ok_and(|url| url.query_pairs().any(|(key, _)| key.replace('-', "") == name))
}
