//! Settings of processes, and directories where they may write.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nexus_sandbox::providers::{Providers, ProvidersConfig};
use nexus_sandbox::{random, scratch};

use crate::program::Environment;

/// A number from the environment: how much of something a test does, or which seed it takes.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

/// Where links in mails lead: nowhere, as a process does not know its port before it is bound.
pub const PUBLIC_URL: &str = "https://tickets.nexus.example";

/// Something random that resists guessing.
pub fn secret() -> String {
    let config = ProvidersConfig::default();
    format!("{}{}", config.razorpay_webhook_secret, config.razorpay_key_secret)
}

/// The settings of a process that uses these servers.
pub fn environment(
    database_url: &str,
    redis_url: &str,
    jwt_secret: &str,
    providers: &Providers,
) -> Environment {
    let mut env: Environment = [
        ("NODE_ENV", "test"),
        // However slow the machine is that runs the tests.
        ("HTTP_LATENCY_TARGET_MS", "60000"),
        ("HOST", "127.0.0.1"),
        // As everywhere but in production, in which some tests run.
        ("EVENT_CREATION", "users"),
        ("FRONTEND_URL", "http://localhost:5173"),
        ("TRUSTED_PROXIES", "127.0.0.0/8"),
        ("DATABASE_URL", database_url),
        ("REDIS_URL", redis_url),
        ("JWT_SECRET", jwt_secret),
        // The events of tests are far away.
        ("DOOR_OPENS_HOURS_BEFORE_START", "1000000"),
        ("JWT_REFRESH_SECRET", &secret()),
        ("TICKET_SIGNING_KEY", &random::signing_key()),
        ("TWILIO_FROM", "+15005550006"),
        ("MAIL_FROM", "Nexus <tickets@nexus.example>"),
        ("PUBLIC_URL", PUBLIC_URL),
        ("RUST_BACKTRACE", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    env.extend(providers.env().into_iter().map(|(name, value)| (name.to_owned(), value)));
    env
}

/// A private directory, removed when dropped.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// A fresh, empty one.
    pub fn create() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = scratch::directory().join(format!("nexus-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary directory");
        Self(dir)
    }
}

impl std::ops::Deref for TempDir {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
