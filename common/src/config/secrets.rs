//! Secrets: which are too weak, and those that we choose ourselves.

use std::collections::HashSet;

use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::Url;
use secrecy::{SecretBox, SecretString};

use super::Env;

/// The keys that sign tokens.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// JWT_SECRET, which signs, and JWT_SECRET_PREVIOUS: those that it has replaced, whose tokens
    /// are still good.
    pub access: Vec<SecretString>,
    /// JWT_REFRESH_SECRET and JWT_REFRESH_SECRET_PREVIOUS
    pub refresh: Vec<SecretString>,
}

impl Tokens {
    /// Reads the group.
    pub fn from_env(env: &mut Env) -> Self {
        let access = with_previous(env, "JWT_SECRET");
        let refresh = with_previous(env, "JWT_REFRESH_SECRET");
        if access.iter().any(|secret| !secret.is_empty() && refresh.contains(secret)) {
            env.problem("JWT_REFRESH_SECRET must differ from JWT_SECRET");
        }
        let secret = |secret: String| secret.into();
        Tokens {
            access: access.into_iter().map(secret).collect(),
            refresh: refresh.into_iter().map(secret).collect(),
        }
    }
}

/// A secret, and those that it has replaced: `<name>_PREVIOUS`, separated by commas.
fn with_previous(env: &mut Env, name: &str) -> Vec<String> {
    let mut secrets = vec![env.strong_secret(name)];
    let previous = format!("{name}_PREVIOUS");
    for secret in env.get(&previous).unwrap_or_default().split(',').map(str::trim) {
        if !secret.is_empty() {
            env.refuse_weak(&previous, weakness(secret));
            secrets.push(secret.to_owned());
        }
    }
    secrets
}

/// TICKET_SIGNING_KEY: signs the QR codes of tickets; 32 bytes in base64.
pub fn ticket_signing_key(env: &mut Env) -> Option<SecretBox<[u8; 32]>> {
    const NAME: &str = "TICKET_SIGNING_KEY";
    let given = env.required(NAME);
    if given.is_empty() {
        return None;
    }
    let key = BASE64_STANDARD.decode(&given).ok().and_then(|bytes| bytes.try_into().ok());
    if key.is_none() {
        env.problem(format!("{NAME} must be 32 bytes in base64, from `openssl rand -base64 32`"));
    } else {
        env.refuse_weak(NAME, weakness(&given));
    }
    key.map(|key| SecretBox::new(Box::new(key)))
}

/// RAZORPAY_WEBHOOK_SECRET: several, separated by commas, while one is being replaced. Without any,
/// webhooks are refused.
pub(super) fn webhook_secrets(env: &mut Env) -> Vec<SecretString> {
    const NAME: &str = "RAZORPAY_WEBHOOK_SECRET";
    let off = "webhooks of Razorpay, which are answered 503; payments are found by the payments worker's reconciler only";
    if !env.has_any_of(&[NAME], off) {
        return vec![];
    }
    let given = env.required(NAME);
    let secrets: Vec<&str> =
        given.split(',').map(str::trim).filter(|secret| !secret.is_empty()).collect();
    if secrets.is_empty() {
        env.problem(format!("{NAME} holds no secret"));
    }
    let checked: &[&str] = if env.production { &secrets } else { &[] };
    for secret in checked {
        // An attacker who guesses it can confirm unpaid bookings.
        env.refuse_weak(NAME, guessable(secret));
        // Who has seen one must not have the other.
        if ["JWT_SECRET", "JWT_REFRESH_SECRET", "RAZORPAY_KEY_SECRET"]
            .iter()
            .any(|name| env.get(name).as_deref() == Some(*secret))
        {
            env.problem(format!(
                "{NAME} must differ from JWT_SECRET, JWT_REFRESH_SECRET and RAZORPAY_KEY_SECRET"
            ));
        }
    }
    secrets.into_iter().map(SecretString::from).collect()
}

/// In production, a password in a URL must not be an obvious one.
pub(super) fn check_password(env: &mut Env, name: &str, url: &str) {
    let password = Url::parse(url).ok().and_then(|url| url.password().map(str::to_owned));
    if let Some(password) = password.filter(|password| env.production && !password.is_empty()) {
        env.refuse_weak(&format!("the password in {name}"), obvious(&password, 12, 6));
    }
}

/// Why a secret that we chose is too weak.
pub(super) fn weakness(secret: &str) -> Option<&'static str> {
    if secret.len() < 32 {
        return Some("use at least 32 characters, for example from `openssl rand -base64 48`");
    }
    obvious(secret, 32, 10)
}

/// Why a secret that we share with a provider is too weak.
pub(super) fn guessable(secret: &str) -> Option<&'static str> {
    obvious(secret, 16, 8)
}

fn obvious(secret: &str, least: usize, distinct: usize) -> Option<&'static str> {
    const PLACEHOLDERS: [&str; 12] = [
        "changeme",
        "change-me",
        "change_me",
        "your-",
        "your_",
        "example",
        "password",
        "default",
        "placeholder",
        "123456",
        "qwerty",
        "xxxxxx",
    ];
    let lower = secret.to_lowercase();
    if secret.len() < least {
        Some("it is too short")
    } else if secret.chars().collect::<HashSet<_>>().len() < distinct {
        Some("it repeats too few characters")
    } else if PLACEHOLDERS.iter().any(|word| lower.contains(word)) {
        Some("it looks like a placeholder")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_and_repetitions_are_weak_secrets() {
        assert!(weakness("your-super-secret-jwt-key-with-some-length").is_some());
        assert!(weakness(&"ab".repeat(40)).is_some());
        assert!(weakness("Zk3vQp9wLx7Tn2Rb8Ym4Cj6Hd1Fs5Ga").is_some());
        assert!(weakness("Zk3vQp9wLx7Tn2Rb8Ym4Cj6Hd1Fs5Ga0").is_none());
        assert!(guessable("whsec_changeme_please").is_some());
        assert!(guessable("0f3a9c5e7b1d2468").is_none());
    }

    #[test]
    fn a_key_that_signs_tickets_is_32_bytes_that_nobody_guesses() {
        let said = |lookup| {
            Env::from_lookup(lookup).load(ticket_signing_key).map_err(|error| error.to_string())
        };
        assert!(said(|_| None).unwrap_err().contains("TICKET_SIGNING_KEY is missing"));
        let short =
            said(|name| (name == "TICKET_SIGNING_KEY").then(|| "c2hvcnQ=".into())).unwrap_err();
        assert!(
            short.contains("must be 32 bytes in base64") && !short.contains("c2hvcnQ="),
            "{short}"
        );
        let zeros =
            said(|name| (name == "TICKET_SIGNING_KEY").then(|| format!("{}=", "A".repeat(43))));
        assert!(zeros.unwrap_err().contains("too weak"));
        const GOOD: &str = "mHmlQy7hUbRZzGKbRhbGJYl6W5qQ0Vn6pXlZ9E3s7kA=";
        assert!(
            said(|name| (name == "TICKET_SIGNING_KEY").then(|| GOOD.into())).unwrap().is_some()
        );
    }
}
