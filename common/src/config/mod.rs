//! Settings, read once at start from the environment (and from `.env` unless NODE_ENV is production).
//!
//! Each process asks for the groups that it needs. Every missing or invalid variable is reported at once; values are never printed, and no
//! secret has a default. `.env.example` lists every variable.

mod env;

use std::{net::SocketAddr, time::Duration};

use secrecy::SecretString;

pub use self::env::{ConfigError, Env};
use crate::{domain::tokens::Keeping, jobs::Queue};

/// PostgreSQL.
#[derive(Debug, Clone)]
pub struct Database {
    /// DATABASE_URL
    pub url: SecretString,
    /// DATABASE_MAX_CONNECTIONS
    pub max_connections: u32,
    /// DATABASE_ACQUIRE_TIMEOUT_MS: how long a request waits for a free connection before it is answered 503.
    pub acquire_timeout: Duration,
}

impl Database {
    /// Reads the group.
    pub fn from_env(env: &mut Env, default_connections: u64) -> Self {
        Database {
            url: env.url("DATABASE_URL", None, &["postgres", "postgresql"]).into(),
            max_connections: env.between("DATABASE_MAX_CONNECTIONS", default_connections, 2, 1000) as u32,
            acquire_timeout: env.milliseconds("DATABASE_ACQUIRE_TIMEOUT_MS", 3_000, 100, 60_000),
        }
    }
}

/// REDIS_URL
#[derive(Debug, Clone)]
pub struct Redis {
    /// With credentials, if there are any.
    pub url: SecretString,
}

impl Redis {
    /// Reads the group.
    pub fn from_env(env: &mut Env) -> Self {
        Redis { url: env.url("REDIS_URL", None, &["redis", "rediss"]).into() }
    }

    /// For a process that can do without.
    pub fn optional(env: &mut Env) -> Option<Self> {
        env.get("REDIS_URL").map(|_| Self::from_env(env))
    }
}

/// The keys that sign tokens.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// JWT_SECRET
    pub access: SecretString,
    /// JWT_REFRESH_SECRET
    pub refresh: SecretString,
}

impl Tokens {
    /// Reads the group.
    pub fn from_env(env: &mut Env) -> Self {
        let access = env.strong_secret("JWT_SECRET");
        let refresh = env.strong_secret("JWT_REFRESH_SECRET");
        if !access.is_empty() && access == refresh {
            env.problem("JWT_REFRESH_SECRET must differ from JWT_SECRET");
        }
        Tokens { access: access.into(), refresh: refresh.into() }
    }
}

/// SIDE_BY_SIDE, off: whether the Node service works on the same data, and so has to find tokens in PostgreSQL and Redis as they are.
pub fn tokens_kept(env: &mut Env) -> Keeping {
    env.one_of("SIDE_BY_SIDE", &[("off", Keeping::Hashed), ("on", Keeping::Raw)])
}

/// Who may create events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventCreation {
    /// Every user, as existing frontends expect.
    Users,
    /// Organisers and admins.
    Organisers,
}

/// Twilio: Verify for one-time passwords, Messages for SMS.
#[derive(Debug, Clone)]
pub struct Twilio {
    /// TWILIO_ACCOUNT_SID
    pub account_sid: String,
    /// TWILIO_AUTH_TOKEN
    pub auth_token: SecretString,
    /// TWILIO_VERIFY_SID
    pub verify_sid: String,
    /// TWILIO_FROM: a phone number, or a messaging service's MG… id. Without it no SMS are sent, only one-time passwords.
    pub from: Option<String>,
    /// TWILIO_VERIFY_URL
    pub verify_url: String,
    /// TWILIO_API_URL
    pub api_url: String,
}

impl Twilio {
    /// Reads the group.
    pub fn from_env(env: &mut Env) -> Self {
        Twilio {
            account_sid: env.required("TWILIO_ACCOUNT_SID"),
            auth_token: env.credential("TWILIO_AUTH_TOKEN"),
            verify_sid: env.required("TWILIO_VERIFY_SID"),
            from: env.get("TWILIO_FROM"),
            verify_url: env.url("TWILIO_VERIFY_URL", Some("https://verify.twilio.com"), &["https", "http"]),
            api_url: env.url("TWILIO_API_URL", Some("https://api.twilio.com"), &["https", "http"]),
        }
    }
}

/// Razorpay's API.
#[derive(Debug, Clone)]
pub struct Razorpay {
    /// RAZORPAY_KEY_ID; public, frontends get it with each order.
    pub key_id: String,
    /// RAZORPAY_KEY_SECRET
    pub key_secret: SecretString,
    /// RAZORPAY_API_URL
    pub api_url: String,
}

impl Razorpay {
    /// Reads the group.
    pub fn from_env(env: &mut Env) -> Self {
        Razorpay {
            key_id: env.required("RAZORPAY_KEY_ID"),
            key_secret: env.credential("RAZORPAY_KEY_SECRET"),
            api_url: env.url("RAZORPAY_API_URL", Some("https://api.razorpay.com"), &["https", "http"]),
        }
    }
}

/// Where e-mail goes.
#[derive(Debug, Clone)]
pub struct Smtp {
    /// SMTP_URL: `smtps://user:password@host:465`, `smtp://…?tls=required`, or plain `smtp://` for a relay on this machine.
    pub url: SecretString,
    /// MAIL_FROM
    pub from: String,
}

impl Smtp {
    /// Reads the group.
    pub fn from_env(env: &mut Env) -> Self {
        let from = env.required("MAIL_FROM");
        if !from.is_empty() && from.parse::<lettre::message::Mailbox>().is_err() {
            env.problem("MAIL_FROM must look like Tickets <tickets@example.com>");
        }
        Smtp { url: env.url("SMTP_URL", None, &["smtp", "smtps"]).into(), from }
    }
}

/// How long a seat is kept for somebody.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// SEAT_LOCK_SECONDS, 600: from lock to booking.
    pub lock: Duration,
    /// BOOKING_SECONDS, 900: from booking to payment.
    pub booking: Duration,
}

impl Deadlines {
    /// Reads the group.
    pub fn from_env(env: &mut Env) -> Self {
        Deadlines {
            lock: Duration::from_secs(env.between("SEAT_LOCK_SECONDS", 600, 1, 3600)),
            booking: Duration::from_secs(env.between("BOOKING_SECONDS", 900, 1, 3600)),
        }
    }
}

/// How Razorpay is asked about what its webhooks should have told.
#[derive(Debug, Clone, Copy)]
pub struct Reconciliation {
    /// RECONCILE_EVERY_SECONDS, 60: from one look to the next.
    pub every: Duration,
    /// RECONCILE_AFTER_SECONDS, 10: webhooks get so long before Razorpay is asked.
    pub after: Duration,
    /// RECONCILE_DAYS, 7: how long a payment can still become authorized, and how far the daily comparison reaches back.
    pub days: Duration,
    /// RECONCILE_PER_SECOND, 10: requests to Razorpay.
    pub per_second: u32,
    /// Payments that were begun in this time are looked at every time: what a buyer has until the deadline, and a while to finish.
    pub recent: Duration,
}

impl Reconciliation {
    /// Reads the group.
    pub fn from_env(env: &mut Env) -> Self {
        let days = env.between("RECONCILE_DAYS", 7, 1, 180);
        Reconciliation {
            every: Duration::from_secs(env.between("RECONCILE_EVERY_SECONDS", 60, 1, 3_600)),
            after: Duration::from_secs(env.between("RECONCILE_AFTER_SECONDS", 10, 0, 3_600)),
            days: Duration::from_secs(days * 86_400),
            per_second: env.between("RECONCILE_PER_SECOND", 10, 1, 1_000) as u32,
            recent: Deadlines::from_env(env).booking + Duration::from_secs(300),
        }
    }
}

/// The HTTP side of the API.
#[derive(Debug, Clone)]
pub struct Http {
    /// HOST, 0.0.0.0
    pub host: std::net::IpAddr,
    /// PORT, 3000
    pub port: u16,
    /// FRONTEND_URL: the origins, separated by commas, that browsers may call from.
    pub frontends: Vec<String>,
}

/// METRICS_ADDRESS: where Prometheus finds this process, such as `0.0.0.0:9464`; without it nothing is measured.
fn metrics_address(env: &mut Env) -> Option<SocketAddr> {
    env.optional("METRICS_ADDRESS")
}

/// OTEL_EXPORTER_OTLP_ENDPOINT, or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: whether there is a collector for traces, and OTEL_SDK_DISABLED does not
/// keep them from it. The exporter reads both again, and its other settings.
fn has_collector(env: &mut Env) -> bool {
    let names = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
    let given = names.map(|name| !env.url(name, Some(""), &["http", "https"]).is_empty());
    let disabled = env.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    given.contains(&true) && !disabled
}

impl Http {
    /// Reads the group.
    pub fn from_env(env: &mut Env) -> Self {
        let frontends: Vec<String> = env
            .required("FRONTEND_URL")
            .split(',')
            .map(|origin| origin.trim().trim_end_matches('/').to_owned())
            .filter(|origin| !origin.is_empty())
            .collect();
        for origin in &frontends {
            let is_origin = reqwest::Url::parse(origin)
                .is_ok_and(|url| url.has_host() && url.path() == "/" && url.query().is_none());
            if !is_origin {
                env.problem(
                    "FRONTEND_URL must list origins such as https://tickets.example, separated by commas",
                );
            }
        }
        Http {
            host: env.or("HOST", std::net::IpAddr::from([0, 0, 0, 0])),
            port: env.or("PORT", 3000),
            frontends,
        }
    }
}

/// Everything `nexus-api serve` needs.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // groups, documented above
pub struct Api {
    pub production: bool,
    pub metrics: Option<SocketAddr>,
    pub traces: bool,
    pub http: Http,
    pub database: Database,
    pub redis: Redis,
    pub tokens: Tokens,
    /// SIDE_BY_SIDE
    pub tokens_kept: Keeping,
    /// EVENT_CREATION, users: who may create events.
    pub event_creation: EventCreation,
    pub deadlines: Deadlines,
    pub twilio: Twilio,
    pub razorpay: Razorpay,
    /// RAZORPAY_WEBHOOK_SECRET: several, separated by commas, while one is being replaced.
    pub webhook_secrets: Vec<SecretString>,
    /// CANCEL_UNTIL_MINUTES_BEFORE_START, 0: how long before an event starts its confirmed bookings can be cancelled.
    pub cancel_until: Duration,
}

impl Api {
    /// Reads every group.
    pub fn from_env(env: &mut Env) -> Self {
        Api {
            production: env.production,
            metrics: metrics_address(env),
            traces: has_collector(env),
            http: Http::from_env(env),
            database: Database::from_env(env, 20),
            redis: Redis::from_env(env),
            tokens: Tokens::from_env(env),
            tokens_kept: tokens_kept(env),
            event_creation: env.one_of(
                "EVENT_CREATION",
                &[("users", EventCreation::Users), ("organisers", EventCreation::Organisers)],
            ),
            deadlines: Deadlines::from_env(env),
            twilio: Twilio::from_env(env),
            razorpay: Razorpay::from_env(env),
            webhook_secrets: env
                .required("RAZORPAY_WEBHOOK_SECRET")
                .split(',')
                .map(str::trim)
                .filter(|secret| !secret.is_empty())
                .map(SecretString::from)
                .collect(),
            cancel_until: Duration::from_secs(
                60 * env.between("CANCEL_UNTIL_MINUTES_BEFORE_START", 0, 0, 525_600),
            ),
        }
    }
}

/// What every worker needs; its handlers read their own groups beside it.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // groups, documented above
pub struct Worker {
    pub production: bool,
    pub metrics: Option<SocketAddr>,
    pub traces: bool,
    pub database: Database,
    pub redis: Redis,
    /// WORKER_CONCURRENCY: jobs at once; the command line's `--concurrency` wins.
    pub concurrency: usize,
    /// JOB_LEASE_MS: a worker that has not been heard of for so long has lost its job to another.
    pub lease: Duration,
    /// JOB_LOST_MS: a job that was handed to Redis so long ago and never claimed is handed over again.
    pub lost_after: Duration,
    /// SHUTDOWN_GRACE_MS: how long running jobs may take to finish after SIGTERM.
    pub grace: Duration,
}

impl Worker {
    /// Reads every group.
    pub fn from_env(env: &mut Env, queue: Queue) -> Self {
        let concurrency = match queue {
            Queue::Otp | Queue::Payments | Queue::Notifications => 16,
            Queue::Bookings => 4,
            Queue::Expiry | Queue::Cleanup => 1,
        };
        Worker {
            production: env.production,
            metrics: metrics_address(env),
            traces: has_collector(env),
            database: Database::from_env(env, 10),
            redis: Redis::from_env(env),
            concurrency: env.between("WORKER_CONCURRENCY", concurrency, 1, 1000) as usize,
            lease: env.milliseconds("JOB_LEASE_MS", 6_000, 1_000, 300_000),
            lost_after: env.milliseconds("JOB_LOST_MS", 10_000, 1_000, 300_000),
            grace: env.milliseconds("SHUTDOWN_GRACE_MS", 10_000, 0, 300_000),
        }
    }
}

/// JOBS_KEEP_HOURS, 168: how long finished jobs stay for operators to look at. Dead letters stay until somebody decides.
pub fn keep_jobs(env: &mut Env) -> Duration {
    Duration::from_secs(env.between("JOBS_KEEP_HOURS", 168, 1, 8_760) * 3_600)
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
        for name in
            ["JWT_SECRET is too weak", "JWT_REFRESH_SECRET is missing", "DATABASE_URL is missing", "PORT"]
        {
            assert!(problems.contains(name), "{name} not in {problems}");
        }
        assert!(!problems.contains("hunter2"));
    }
}
