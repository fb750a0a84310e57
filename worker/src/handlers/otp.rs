//! Handlers of the otp queue.

use std::sync::Arc;

use nexus_common::{
    config::{self, Env},
    jobs::otp::SendOtp,
    providers::{
        Key,
        twilio::{Service, Twilio},
    },
};

use super::outward;
use crate::{Attempt, Build, Context, JobFailure};

/// What these handlers need besides the common context.
pub struct Otp {
    twilio: Twilio,
}

impl Otp {
    /// Reads the settings.
    pub fn from_env(env: &mut Env) -> Build<Self> {
        let twilio = config::Twilio::from_env(env);
        Box::new(move || Ok(Otp { twilio: Twilio::new(&twilio)? }))
    }

    /// The keys that these handlers need.
    pub fn keys(&self) -> Vec<Key> {
        vec![self.twilio.key().clone()]
    }
}

/// See [`SendOtp`].
pub async fn send_otp(
    cx: Arc<Context<Otp>>,
    job: SendOtp,
    _attempt: Attempt,
) -> Result<(), JobFailure> {
    let service = if job.reset { Service::Reset } else { Service::General };
    if let Some(verification) = &job.replaces {
        cx.twilio.cancel(service, verification).await.map_err(outward)?;
    }
    cx.twilio.send_code(service, &job.phone).await.map_err(outward)
}
