//! Razorpay, Twilio and the mail server. An installation may have none of them: features that need
//! one are then off, and everything else works.

use reqwest::Url;
use secrecy::SecretString;

use super::{Env, env, secrets};

/// Twilio: Verify for one-time passwords, Messages for SMS.
#[derive(Debug, Clone)]
pub struct Twilio {
    /// TWILIO_ACCOUNT_SID
    pub account_sid: String,
    /// TWILIO_AUTH_TOKEN
    pub auth_token: SecretString,
    /// TWILIO_VERIFY_SID
    pub verify_sid: String,
    /// TWILIO_VERIFY_RESET_SID: the service whose codes reset passwords, and do nothing else. Without
    /// it, every code does everything.
    pub verify_reset_sid: Option<String>,
    /// TWILIO_FROM: a phone number, or a messaging service's MG… id. Without it no SMS are sent,
    /// only one-time passwords.
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
            verify_reset_sid: env.get("TWILIO_VERIFY_RESET_SID"),
            from: env.get("TWILIO_FROM"),
            verify_url: env.provider_url("TWILIO_VERIFY_URL", "https://verify.twilio.com"),
            api_url: env.provider_url("TWILIO_API_URL", "https://api.twilio.com"),
        }
    }

    /// For a process that can do without; `off` names the features that are then off.
    pub fn optional(env: &mut Env, off: &str) -> Option<Self> {
        let names = ["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_VERIFY_SID"];
        env.has_any_of(&names, off).then(|| Self::from_env(env))
    }
}

#[derive(Debug, Clone)]
pub struct Razorpay {
    /// RAZORPAY_KEY_ID; public, because frontends get it with each order.
    pub key_id: String,
    /// RAZORPAY_KEY_SECRET
    pub key_secret: SecretString,
    /// RAZORPAY_API_URL
    pub api_url: String,
}

impl Razorpay {
    /// Reads the group.
    pub fn from_env(env: &mut Env) -> Self {
        let key_id = env.required("RAZORPAY_KEY_ID");
        if env.production && key_id.starts_with("rzp_test_") {
            env.warning("RAZORPAY_KEY_ID is a test key: no money moves");
        }
        Razorpay {
            key_id,
            key_secret: env.credential("RAZORPAY_KEY_SECRET"),
            api_url: env.provider_url("RAZORPAY_API_URL", "https://api.razorpay.com"),
        }
    }

    /// For a process that can do without; `off` names the features that are then off.
    pub fn optional(env: &mut Env, off: &str) -> Option<Self> {
        env.has_any_of(&["RAZORPAY_KEY_ID", "RAZORPAY_KEY_SECRET"], off)
            .then(|| Self::from_env(env))
    }
}

/// PASSWORD_BREACH_URL: where new passwords are looked up in breaches, by the first five digits of
/// their hash; off unless set.
pub fn password_breaches(env: &mut Env) -> Option<String> {
    let url = env.get("PASSWORD_BREACH_URL").map(|_| env.provider_url("PASSWORD_BREACH_URL", ""));
    if url.is_none() && env.production {
        env.warning("PASSWORD_BREACH_URL is not set: new passwords are not looked up in breaches");
    }
    url
}

/// Who judges whether whoever joins a waiting room is a person (docs/providers.md#captchas).
#[derive(Debug, Clone)]
pub struct Captcha {
    /// CAPTCHA_VERIFY_URL
    pub url: String,
    /// CAPTCHA_SECRET
    pub secret: SecretString,
    /// CAPTCHA_MIN_SCORE_PERCENT, 50: of a service that gives a score from 0 to 1.
    pub least_score: f64,
}

impl Captcha {
    /// Off unless CAPTCHA_VERIFY_URL is set.
    pub fn optional(env: &mut Env) -> Option<Self> {
        let least_score = env.between("CAPTCHA_MIN_SCORE_PERCENT", 50, 0, 100) as f64 / 100.0;
        let has_secret = env.get("CAPTCHA_SECRET").is_some();
        if env.get("CAPTCHA_VERIFY_URL").is_none() {
            if has_secret {
                env.problem("CAPTCHA_VERIFY_URL is missing, and CAPTCHA_SECRET is set");
            }
            return None;
        }
        Some(Captcha {
            url: env.provider_url("CAPTCHA_VERIFY_URL", ""),
            secret: env.credential("CAPTCHA_SECRET"),
            least_score,
        })
    }
}

/// PUBLIC_URL: where clients reach the API, for the links in mails; without it, mails have codes
/// only, and no password is recovered by mail.
pub fn public_url(env: &mut Env) -> Option<String> {
    env.has_any_of(&["PUBLIC_URL"], "links in mails, and setting another password with one").then(
        || {
            let url = env.url("PUBLIC_URL", None, &["https", "http"]);
            env.require_https("PUBLIC_URL", &url);
            url
        },
    )
}

/// The mail server.
#[derive(Debug, Clone)]
pub struct Smtp {
    /// SMTP_URL: `smtps://user:password@host:465`, `smtp://…?tls=required`, or plain `smtp://` for
    /// a relay on this machine.
    pub url: SecretString,
    /// MAIL_FROM
    pub from: String,
}

impl Smtp {
    /// Reads the group.
    pub fn from_env(env: &mut Env) -> Self {
        let from = env.required("MAIL_FROM");
        let mailbox = from.parse::<lettre::message::Mailbox>();
        match mailbox {
            Ok(mailbox) if env.production && mailbox.email.domain() == "example.com" => {
                env.problem("MAIL_FROM must not be an example in production");
            }
            Err(_) if !from.is_empty() => {
                env.problem("MAIL_FROM must look like Tickets <tickets@example.com>");
            }
            _ => {}
        }
        let url = env.url("SMTP_URL", None, &["smtp", "smtps"]);
        secrets::check_password(env, "SMTP_URL", &url);
        let is_clear = Url::parse(&url).is_ok_and(|url| {
            let is_secured =
                url.query_pairs().any(|(key, value)| key == "tls" && value == "required");
            url.scheme() == "smtp" && !is_secured && !env::is_local(&url)
        });
        if env.production && is_clear {
            env.problem("SMTP_URL must start with smtps:// or say ?tls=required in production");
        }
        Smtp { url: url.into(), from }
    }

    /// For a process that can do without; `off` names the features that are then off.
    pub fn optional(env: &mut Env, off: &str) -> Option<Self> {
        // MAIL_FROM alone sends nothing, and is not a secret whose other half was forgotten.
        let given = env.has_any_of(&["SMTP_URL"], off);
        env.get("MAIL_FROM");
        given.then(|| Self::from_env(env))
    }
}
