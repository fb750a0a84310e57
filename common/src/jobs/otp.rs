//! Jobs of the otp queue.

use serde::{Deserialize, Serialize};

use super::{Job, Queue, RetryPolicy};

/// Asks Twilio Verify to send a one-time password. Runs at least once: Twilio repeats the same code
/// while it is valid, so a second run costs an SMS and confuses nobody.
#[derive(Debug, Serialize, Deserialize)]
pub struct SendOtp {
    /// E.164, and not an id: the phone may not belong to a user yet.
    pub phone: String,
    /// Whether it is a code that resets passwords, and does nothing else.
    #[serde(default)]
    pub reset: bool,
    /// Twilio's id of the verification whose code was guessed wrong: another code takes its place.
    #[serde(default)]
    pub replaces: Option<String>,
}

impl Job for SendOtp {
    const QUEUE: Queue = Queue::Otp;
    const KIND: &'static str = "send_otp";
    /// A code that arrives after ten minutes is useless: 0.5 s, 1 s, 2 s … about eight minutes in
    /// all.
    const RETRY: RetryPolicy = RetryPolicy {
        first: std::time::Duration::from_millis(500),
        longest: std::time::Duration::from_secs(120),
        max_attempts: 10,
    };

    /// A user who clicks impatiently gets one message.
    fn unique_key(&self) -> Option<String> {
        match self.reset {
            true => Some(Self::key(format!("{} reset", self.phone))),
            false => Some(Self::key(&self.phone)),
        }
    }
}
