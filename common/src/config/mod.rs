//! Settings, read once at start from the environment (and from `.env` unless NODE_ENV is
//! production).
//!
//! Each process reads the groups that it needs. All missing or invalid variables are reported at
//! once; values are never printed, and no secret has a default. `.env.example` lists every
//! variable, and a test compares it with the variables that the processes read ([`Env::list`]).

mod accounts;
mod chargeable;
mod database;
mod deadlines;
mod env;
mod http;
mod observability;
mod providers;
mod rate_limits;
mod redis;
mod retention;
mod secrets;
mod ticket_files;
mod token_storage;
mod worker;

use std::time::Duration;

use nexus_ticket_code::PublicKey;
use secrecy::SecretString;

use crate::types::time_zone::TimeZone;

pub use self::{
    accounts::EventCreation,
    chargeable::Chargeable,
    database::Database,
    deadlines::{Deadlines, Reconciliation, keep_jobs},
    env::{ConfigError, Env},
    http::Http,
    observability::Observability,
    providers::{Captcha, Razorpay, Smtp, Twilio, password_breaches, public_url},
    rate_limits::{DailyCaps, Limit, RateLimit, RateLimits, Unpaid},
    redis::Redis,
    retention::Retention,
    secrets::{Tokens, ticket_signing_key},
    ticket_files::TicketFiles,
    token_storage::TokenStorage,
    worker::Worker,
};

/// Everything `nexus-api serve` needs.
#[derive(Debug, Clone)]
pub struct Api {
    pub production: bool,
    pub observability: Observability,
    pub http: Http,
    pub limits: RateLimits,
    pub database: Database,
    /// SEAT_LOCK_CONNECTIONS, 4: connections only for locking seats, in addition to
    /// DATABASE_MAX_CONNECTIONS; each serves one event at a time.
    pub lock_connections: u32,
    pub redis: Redis,
    pub tokens: Tokens,
    /// SIDE_BY_SIDE
    pub token_storage: TokenStorage,
    /// SESSION_DAYS, 90: how long a session may be continued before its user logs in again.
    pub longest_session: Duration,
    pub event_creation: EventCreation,
    /// Without it, new passwords are compared with the bundled list only.
    pub password_breaches: Option<String>,
    /// Without it, joining a waiting room takes work only.
    pub captcha: Option<Captcha>,
    /// EVENTS_PER_ACCOUNT, 2000: the most events that an account can have.
    pub most_events: i64,
    pub deadlines: Deadlines,
    /// Without it, one-time passwords are off.
    pub twilio: Option<Twilio>,
    /// Without it, payments are off.
    pub razorpay: Option<Razorpay>,
    /// RAZORPAY_MAX_PAISE, 50000000: the most that the account at Razorpay may take at once.
    pub chargeable: Chargeable,
    /// RAZORPAY_WEBHOOK_SECRET: several, separated by commas, while one is being replaced; with
    /// none, webhooks are refused.
    pub webhook_secrets: Vec<SecretString>,
    /// CANCEL_UNTIL_MINUTES_BEFORE_START, 0: how long before an event starts its confirmed bookings
    /// can be cancelled.
    pub cancel_until: Duration,
    /// DOOR_OPENS_HOURS_BEFORE_START, 24: how long before an event starts people may come in.
    pub door_opens: Duration,
    /// Of events that say no other; see [`time_zone`].
    pub time_zone: TimeZone,
    /// EVENT_NOTICE_DELAY_SECONDS, 120: how long a change of an event's date or place waits for
    /// further ones before buyers are told.
    pub notice_delay: Duration,
    pub ticket_files: TicketFiles,
    /// ADMISSION_KEYS: the Ed25519 keys, in base64, of outside waiting rooms whose admission tokens
    /// count (docs/waiting-room.md).
    pub admission_keys: Vec<PublicKey>,
    /// Warnings, to be logged at start.
    pub warnings: Vec<String>,
}

impl Api {
    /// Reads every group.
    pub fn from_env(env: &mut Env) -> Self {
        Api {
            production: env.production,
            observability: Observability::from_env(env),
            http: Http::from_env(env),
            limits: RateLimits::from_env(env),
            database: Database::from_env(env, 20),
            lock_connections: env.between("SEAT_LOCK_CONNECTIONS", 4, 1, 100) as u32,
            redis: Redis::from_env(env),
            tokens: Tokens::from_env(env),
            token_storage: TokenStorage::from_env(env),
            // No shorter than its first refresh token lasts.
            longest_session: Duration::from_secs(
                86_400 * env.between("SESSION_DAYS", 90, 7, 3_650),
            ),
            event_creation: EventCreation::from_env(env),
            password_breaches: password_breaches(env),
            captcha: Captcha::optional(env),
            most_events: env.between("EVENTS_PER_ACCOUNT", 2_000, 1, 1_000_000) as i64,
            deadlines: Deadlines::from_env(env),
            twilio: Twilio::optional(
                env,
                "one-time passwords, and setting another password with one",
            ),
            razorpay: Razorpay::optional(env, "payments; events that cost nothing can be booked"),
            chargeable: Chargeable::from_env(env),
            webhook_secrets: secrets::webhook_secrets(env),
            cancel_until: Duration::from_secs(
                60 * env.between("CANCEL_UNTIL_MINUTES_BEFORE_START", 0, 0, 525_600),
            ),
            door_opens: Duration::from_secs(
                3_600 * env.between("DOOR_OPENS_HOURS_BEFORE_START", 24, 0, 1_000_000),
            ),
            time_zone: time_zone(env),
            notice_delay: Duration::from_secs(env.between(
                "EVENT_NOTICE_DELAY_SECONDS",
                120,
                0,
                86_400,
            )),
            ticket_files: TicketFiles::from_env(env),
            admission_keys: admission_keys(env),
            // Last, after all groups have added their warnings.
            warnings: env.warnings(),
        }
    }
}

/// DEFAULT_TIME_ZONE, Asia/Kolkata: of events that say no other, and of whom no event is about.
pub fn time_zone(env: &mut Env) -> TimeZone {
    const NAME: &str = "DEFAULT_TIME_ZONE";
    let Some(name) = env.get(NAME) else { return TimeZone::KOLKATA };
    TimeZone::parse(&name).unwrap_or_else(|| {
        env.problem(format!("{NAME} must be a name of the IANA database, such as Asia/Kolkata"));
        TimeZone::KOLKATA
    })
}

fn admission_keys(env: &mut Env) -> Vec<PublicKey> {
    const NAME: &str = "ADMISSION_KEYS";
    let named = env.get(NAME).unwrap_or_default();
    let keys = named.split(',').map(str::trim).filter(|key| !key.is_empty()).map(PublicKey::parse);
    keys.collect::<Option<Vec<_>>>().unwrap_or_else(|| {
        env.problem(format!("{NAME} must be Ed25519 public keys in base64, separated by commas"));
        vec![]
    })
}

/// REMIND_HOURS_BEFORE_START, 0: how long before an event its buyers are reminded; `None`: never.
pub fn remind(env: &mut Env) -> Option<Duration> {
    let hours = env.between("REMIND_HOURS_BEFORE_START", 0, 0, 720);
    (hours > 0).then(|| Duration::from_secs(3_600 * hours))
}

/// `required` or `optional`: whether a server must prove who it is. Unset: in production, unless
/// the server is on this machine, it must.
fn tls_required(env: &mut Env, name: &str) -> Option<bool> {
    match env.get(name).as_deref() {
        None => None,
        Some("required") => Some(true),
        Some("optional") => Some(false),
        Some(_) => {
            env.problem(format!("{name} must be required or optional"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_reported_at_once_and_no_value_is_printed() {
        let env = Env::from_lookup(|name| match name {
            "JWT_SECRET" => Some("hunter2".into()),
            "PORT" => Some("eighty".into()),
            _ => None,
        });
        let problems = env.load(Api::from_env).unwrap_err().to_string();
        for name in [
            "JWT_SECRET is too weak",
            "JWT_REFRESH_SECRET is missing",
            "DATABASE_URL is missing",
            "PORT",
        ] {
            assert!(problems.contains(name), "{name} not in {problems}");
        }
        assert!(!problems.contains("hunter2"));
    }

    #[test]
    fn production_trusts_no_half_of_the_internet_and_links_to_https() {
        let problems = |production: bool| {
            let env = Env::from_lookup(match production {
                true => |name| (name == "NODE_ENV").then(|| "production".into()).or(open(name)),
                false => open,
            });
            env.load(|env| (Http::from_env(env), public_url(env))).err().map(|error| error.0)
        };
        fn open(name: &str) -> Option<String> {
            let value = match name {
                "FRONTEND_URL" => "http://localhost:5173, http://tickets.example",
                "PUBLIC_URL" => "http://tickets.example",
                "TRUSTED_PROXIES" => "10.0.0.0/8, 0.0.0.0/0, ::/0",
                _ => return None,
            };
            Some(value.into())
        }
        let networks = "TRUSTED_PROXIES must not list networks larger than a /8: not all of those are your proxies";
        assert_eq!(problems(false).unwrap(), [networks]);
        let https = |name| format!("{name} must start with https:// in production");
        assert_eq!(
            problems(true).unwrap(),
            [https("FRONTEND_URL"), networks.to_owned(), https("PUBLIC_URL")]
        );
    }
}
