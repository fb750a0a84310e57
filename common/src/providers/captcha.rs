//! Whether somebody is a person, as far as a CAPTCHA service can tell (docs/providers.md#captchas).
//! The form of the question is that of Turnstile, hCaptcha and reCAPTCHA, and of whatever else an
//! operator puts in their place.

use std::{fmt::Display, time::Duration};

use secrecy::ExposeSecret;
use serde::Deserialize;

use super::{CallError, chain, http};
use crate::config;

const NAME: &str = "the CAPTCHA service";
/// Somebody waits for the answer, and can work instead.
const TIMEOUT: Duration = Duration::from_secs(2);
/// No token is longer.
pub const LONGEST: usize = 4_096;

/// The client. Cheap to clone.
#[derive(Clone)]
pub struct Captcha {
    http: reqwest::Client,
    settings: config::Captcha,
}

#[derive(Deserialize)]
struct Answer {
    success: bool,
    /// From 0, a program, to 1, a person, where the service gives one.
    score: Option<f64>,
}

impl Captcha {
    pub fn new(settings: config::Captcha) -> crate::Result<Self> {
        Ok(Captcha { http: http()?, settings })
    }

    /// Whether the service takes whoever has this token for a person.
    pub async fn is_person(&self, token: &str, address: impl Display) -> Result<bool, CallError> {
        let asked = tokio::time::timeout(TIMEOUT, self.ask(token, &address.to_string())).await;
        let answer = asked.unwrap_or_else(|_| Err(failed("it did not answer in time")))?;
        let is_enough = answer.score.is_none_or(|score| score >= self.settings.least_score);
        Ok(answer.success && is_enough)
    }

    async fn ask(&self, token: &str, address: &str) -> Result<Answer, CallError> {
        let form = [
            ("secret", self.settings.secret.expose_secret()),
            ("response", token),
            ("remoteip", address),
        ];
        let unread = |error: reqwest::Error| failed(&chain(&error.without_url()));
        let response =
            self.http.post(&self.settings.url).form(&form).send().await.map_err(unread)?;
        if !response.status().is_success() {
            return Err(failed(&format!("status {}", response.status().as_u16())));
        }
        response.json().await.map_err(unread)
    }
}

fn failed(reason: &str) -> CallError {
    CallError::Failed { provider: NAME, reason: reason.to_owned() }
}
