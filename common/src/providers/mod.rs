//! The outside world: one typed client per provider (docs/providers.md). Clients know no domain
//! type; every call has a time-out; errors say whether trying again can help.

pub mod breaches;
pub mod captcha;
mod keys;
pub mod razorpay;
pub mod smtp;
pub mod twilio;

use std::time::Duration;

use reqwest::{RequestBuilder, Response};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracing::Instrument;

pub use self::keys::{Key, Standing};
use crate::{error::Error, observability::traces};

/// Why a call to a provider did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The provider understood and refused: the same request will be refused again.
    #[error("{provider} refused with {status}{}: {message}", code.as_ref().map(|c| format!(" ({c})")).unwrap_or_default())]
    Refused {
        provider: &'static str,
        status: u16,
        /// The provider's own code.
        code: Option<String>,
        /// What it said, without any of our data.
        message: String,
    },
    /// The request cannot be put to the provider, so it was not sent.
    #[error("{provider} cannot be asked: {reason}")]
    Invalid {
        provider: &'static str,
        /// Why, without any of our data.
        reason: String,
    },
    /// The provider did not answer, or not conclusively: try again.
    #[error("{provider} failed: {reason}")]
    Failed { provider: &'static str, reason: String },
    /// The provider refuses our key, or another of our settings. No request is at fault, and all of
    /// them wait until the key is right.
    #[error("{provider} refuses our key")]
    KeyRefused {
        provider: &'static str,
        /// When to try again.
        wait: Duration,
    },
}

impl CallError {
    /// The provider's own code, if it refused with one.
    pub fn code(&self) -> Option<&str> {
        match self {
            CallError::Refused { code, .. } => code.as_deref(),
            CallError::Invalid { .. } | CallError::Failed { .. } | CallError::KeyRefused { .. } => {
                None
            }
        }
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::KeyRefused { wait, .. } => {
                Error::KeyRefused { wait, source: Box::new(error) }
            }
            CallError::Refused { .. } | CallError::Invalid { .. } => {
                Error::ProviderRefused { source: Box::new(error) }
            }
            CallError::Failed { .. } => Error::Provider {
                message: "The provider could not be reached. Please try again shortly.".to_owned(),
                source: Some(Box::new(error)),
            },
        }
    }
}

/// The HTTP client of every provider: bounded, without redirects, TLS by rustls.
fn http() -> crate::Result<reqwest::Client> {
    crate::tls::install_crypto();
    reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(3))
        .timeout(Duration::from_secs(10))
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("nexus/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(Error::internal)
}

/// How a provider reports errors.
struct Provider {
    name: &'static str,
    /// Finds code and message in a refusal's body.
    explain: fn(&Value) -> (Option<String>, String),
    /// Codes about this one request, although their status usually means "later" (429) or "not with
    /// this key" (403).
    final_codes: &'static [&'static str],
    /// Codes about our settings, with any status: every request is refused until the settings are
    /// right.
    key_codes: &'static [&'static str],
}

impl Provider {
    /// Sends a request and reads a JSON response, unless the key has just been refused.
    async fn call<T: DeserializeOwned>(
        &self,
        key: &Key,
        request: RequestBuilder,
    ) -> Result<T, CallError> {
        key.permit()?;
        let span = tracing::info_span!(
            "call",
            otel.name = format!("call {}", self.name),
            otel.kind = "client"
        );
        let response = self.send(key, request).instrument(span.clone()).await;
        match &response {
            Ok(_) => {}
            Err(CallError::Failed { .. }) => traces::failed(&span, "failed"),
            Err(_) => traces::failed(&span, "refused"),
        }
        response
    }

    async fn send<T: DeserializeOwned>(
        &self,
        key: &Key,
        request: RequestBuilder,
    ) -> Result<T, CallError> {
        // Without the URL, which may hold a phone number.
        let failed = |error: reqwest::Error| CallError::Failed {
            provider: self.name,
            reason: chain(&error.without_url()),
        };
        let response = request.send().await.map_err(failed)?;
        if response.status().is_success() {
            let response = response.json().await.map_err(failed)?;
            key.accepted();
            return Ok(response);
        }
        Err(self.refusal(key, response).await)
    }

    async fn refusal(&self, key: &Key, response: Response) -> CallError {
        let status = response.status();
        let (code, message) = match response.json().await {
            Ok(body) => (self.explain)(&body),
            Err(_) => (None, "no explanation".into()),
        };
        let is_one_of = |codes: &[&str]| code.as_deref().is_some_and(|code| codes.contains(&code));
        let is_final = is_one_of(self.final_codes);
        if is_one_of(self.key_codes) || (matches!(status.as_u16(), 401 | 403) && !is_final) {
            return key.refused(format!("{} ({message})", status.as_u16()));
        }
        // Time-out, in flight with the same key, too early, too many: these pass.
        if status.is_server_error()
            || (matches!(status.as_u16(), 408 | 409 | 425 | 429) && !is_final)
        {
            let reason = format!("status {}: {message}", status.as_u16());
            return CallError::Failed { provider: self.name, reason };
        }
        key.accepted();
        CallError::Refused { provider: self.name, status: status.as_u16(), code, message }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
