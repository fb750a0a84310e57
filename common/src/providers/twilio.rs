//! Twilio: Verify for one-time passwords, Messages for SMS (docs/providers.md#twilio).

use std::fmt;

use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::Value;

use super::{CallError, Key, Provider, http};
use crate::config::Twilio as Settings;

const CHECK_CODE: Provider = Provider {
    name: "Twilio",
    explain,
    // Five checks, five sends: these limits hold until the code expires. Fraud, and countries to
    // which no SMS may be sent: problems of the phone.
    final_codes: &["60202", "60203", "60410", "60605", "21408"],
    // 20404 means that the code has expired; a wrong TWILIO_VERIFY_SID looks the same.
    key_codes: &[],
};
// No such service: TWILIO_VERIFY_SID is wrong.
const SEND_CODE: Provider = Provider { key_codes: &["20404"], ..CHECK_CODE };
// TWILIO_FROM is wrong (https://www.twilio.com/docs/api/errors): not a valid number, missing, not
// Twilio's, not this account's, not for SMS; or not a valid messaging service. Without 21606, which
// may be about the recipient's country.
const SEND_SMS: Provider =
    Provider { key_codes: &["21212", "21603", "21659", "21660", "21661", "21705"], ..CHECK_CODE };

/// The client. Cheap to clone.
#[derive(Clone)]
pub struct Twilio {
    http: reqwest::Client,
    settings: Settings,
    key: Key,
}

/// Which codes: each service of Verify has its own for a phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// TWILIO_VERIFY_SID
    General,
    /// TWILIO_VERIFY_RESET_SID
    Reset,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Service::General => "general",
            Service::Reset => "reset",
        })
    }
}

/// What Twilio says about a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CodeCheck {
    /// The code is right, and is now used up.
    Approved,
    /// The code is wrong. Has Twilio's id of the verification, `VE…`, to [cancel](Twilio::cancel)
    /// it.
    Wrong(String),
    /// No code is waiting for this phone: never sent, expired, or used (20404).
    NotFound,
    /// Five codes have been tried (60202).
    TooManyAttempts,
}

#[derive(Deserialize)]
struct Verification {
    #[serde(default)]
    sid: String,
    status: String,
}

#[derive(Deserialize)]
struct Message {
    #[allow(dead_code)] // proves that the response is Twilio's
    sid: String,
}

impl Twilio {
    /// A client for the account in `settings`.
    pub fn new(settings: &Settings) -> crate::Result<Self> {
        let ours = "the one that is wrong of TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, TWILIO_VERIFY_SID and TWILIO_FROM";
        let key = Key::new(CHECK_CODE.name, ours);
        Ok(Twilio { http: http()?, settings: settings.clone(), key })
    }

    /// Our key at Twilio.
    pub fn key(&self) -> &Key {
        &self.key
    }

    fn post(&self, url: String, form: &[(&str, &str)]) -> reqwest::RequestBuilder {
        self.http
            .post(url)
            .basic_auth(&self.settings.account_sid, Some(self.settings.auth_token.expose_secret()))
            .form(form)
    }

    /// The service whose codes reset passwords, or do everything else.
    pub fn service(&self, resets_password: bool) -> Service {
        match resets_password && self.settings.verify_reset_sid.is_some() {
            true => Service::Reset,
            false => Service::General,
        }
    }

    fn verify_url(&self, service: Service, resource: &str) -> String {
        let sid = match service {
            Service::Reset => self.settings.verify_reset_sid.as_ref(),
            Service::General => None,
        };
        let sid = sid.unwrap_or(&self.settings.verify_sid);
        format!("{}/v2/Services/{sid}/{resource}", self.settings.verify_url)
    }

    /// Sends a one-time password by SMS. A second call within ten minutes sends the same code
    /// again.
    pub async fn send_code(&self, service: Service, phone: &str) -> Result<(), CallError> {
        let url = self.verify_url(service, "Verifications");
        let request = self.post(url, &[("To", phone), ("Channel", "sms")]);
        SEND_CODE.call::<Verification>(&self.key, request).await.map(drop)
    }

    /// Ends a verification, so that the next code that is sent is another one, and may be checked
    /// five times. One that has ended, however it did, is left as it is.
    pub async fn cancel(&self, service: Service, verification: &str) -> Result<(), CallError> {
        let url = self.verify_url(service, &format!("Verifications/{verification}"));
        let request = self.post(url, &[("Status", "canceled")]);
        match CHECK_CODE.call::<Verification>(&self.key, request).await {
            Err(CallError::Refused { .. }) => Ok(()),
            canceled => canceled.map(drop),
        }
    }

    /// Checks a one-time password; an approved one is used up.
    pub async fn check_code(
        &self,
        service: Service,
        phone: &str,
        code: &str,
    ) -> Result<CodeCheck, CallError> {
        let url = self.verify_url(service, "VerificationCheck");
        let request = self.post(url, &[("To", phone), ("Code", code)]);
        match CHECK_CODE.call::<Verification>(&self.key, request).await {
            Ok(check) if check.status == "approved" => Ok(CodeCheck::Approved),
            Ok(check) => Ok(CodeCheck::Wrong(check.sid)),
            Err(error) => match error.code() {
                Some("20404") => Ok(CodeCheck::NotFound),
                Some("60202") => Ok(CodeCheck::TooManyAttempts),
                _ => Err(error),
            },
        }
    }

    /// Whether SMS can be sent, because there is a sender.
    pub fn can_send_sms(&self) -> bool {
        self.settings.from.is_some()
    }

    /// Sends an SMS. Not idempotent: Twilio offers no key for that.
    pub async fn send_sms(&self, to: &str, body: &str) -> Result<(), CallError> {
        let from = self.settings.from.as_deref().unwrap_or_default();
        let sender = if from.starts_with("MG") { "MessagingServiceSid" } else { "From" };
        let url = format!(
            "{}/2010-04-01/Accounts/{}/Messages.json",
            self.settings.api_url, self.settings.account_sid
        );
        let request = self.post(url, &[("To", to), (sender, from), ("Body", body)]);
        // With a short code or a name, the same codes may also mean a refusal because of the
        // recipient's country.
        let is_for_all = from.starts_with('+') || sender == "MessagingServiceSid";
        let provider = if is_for_all { SEND_SMS } else { CHECK_CODE };
        provider.call::<Message>(&self.key, request).await.map(drop)
    }
}

fn explain(body: &Value) -> (Option<String>, String) {
    // Twilio's messages repeat the phone number; its codes say the same without it.
    let code = body["code"].as_i64().map(|code| code.to_string());
    let message =
        code.as_ref().map_or("no explanation".into(), |code| format!("Twilio error {code}"));
    (code, message)
}
