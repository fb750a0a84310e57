//! Twilio's rules: one-time passwords (Verify) and text messages. Routes are in `api`.

pub(crate) mod api;

use std::collections::VecDeque;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::Serialize;
use serde_json::{Value, json};

use super::ProvidersConfig;
use super::recent::{self, Recent};
use crate::random;

const LIMIT: usize = 20_000;
const MAX_SENDS: usize = 5;
const MAX_CHECKS: u32 = 5;
const MAX_BODY: usize = 1_600;
/// A second service of Verify, with codes of its own, which every imitation has.
pub const OTHER_VERIFY_SID: &str = "VA00000000000000000000000000000001";
/// The sender that Twilio itself offers to try a wrong one.
const WRONG_SENDER: &str = "+15005550001";

/// A one-time password and where it stands.
#[derive(Debug, Clone, Serialize)]
pub struct Otp {
    /// E.164.
    pub phone: String,
    /// Six digits.
    pub code: String,
    /// When it stops being accepted.
    pub expires_at: DateTime<Utc>,
    /// `pending`, `approved`, `canceled` or `expired`.
    pub status: &'static str,
}

/// A text message that was accepted.
#[derive(Debug, Clone, Serialize)]
pub struct Sms {
    /// `SM…`
    pub sid: String,
    pub to: String,
    /// Sender, or the messaging service.
    pub from: String,
    pub body: String,
    pub at: DateTime<Utc>,
}

#[derive(Debug)]
struct Verification {
    sid: String,
    code: String,
    channel: String,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    sends: Vec<DateTime<Utc>>,
    checks: u32,
    approved: bool,
    canceled: bool,
}

impl Verification {
    fn is_open(&self) -> bool {
        !self.approved && !self.canceled && Utc::now() < self.expires_at
    }
}

#[derive(Debug)]
pub(crate) struct Twilio {
    account_sid: String,
    validity: TimeDelta,
    /// By service and phone.
    verifications: Recent<Verification>,
    messages: VecDeque<Sms>,
}

impl Twilio {
    pub(crate) fn new(config: &ProvidersConfig) -> Self {
        Self {
            account_sid: config.twilio_account_sid.clone(),
            validity: TimeDelta::from_std(config.otp_validity).unwrap_or(TimeDelta::minutes(10)),
            verifications: Recent::new(LIMIT),
            messages: VecDeque::new(),
        }
    }

    pub(crate) fn otp(&self, service: &str, phone: &str) -> Option<Otp> {
        let verification = self.verifications.get(&key(service, phone))?;
        let status = match verification {
            Verification { approved: true, .. } => "approved",
            Verification { canceled: true, .. } => "canceled",
            verification if verification.is_open() => "pending",
            _ => "expired",
        };
        let (code, expires_at) = (verification.code.clone(), verification.expires_at);
        Some(Otp { phone: phone.to_owned(), code, expires_at, status })
    }

    pub(crate) fn sms(&self) -> Vec<Sms> {
        self.messages.iter().cloned().collect()
    }

    /// A second send within the validity repeats the same code and does not prolong it.
    fn send_code(&mut self, service: &str, to: &str, channel: &str) -> Result<Value, Failure> {
        if !is_phone(to) {
            return Err(Failure(400, 60200, format!("Invalid parameter `To`: {to}")));
        }
        if !matches!(channel, "sms" | "call" | "whatsapp") {
            return Err(Failure(400, 60200, format!("Invalid parameter `Channel`: {channel}")));
        }
        let (now, key) = (Utc::now(), key(service, to));
        if !self.verifications.get(&key).is_some_and(Verification::is_open) {
            let verification = Verification {
                sid: format!("VE{}", random::hex(32)),
                code: random::digits(6),
                channel: channel.to_owned(),
                created_at: now,
                expires_at: now + self.validity,
                sends: Vec::new(),
                checks: 0,
                approved: false,
                canceled: false,
            };
            self.verifications.insert(&key, verification);
        }
        match self.verifications.get_mut(&key) {
            Some(verification) if verification.sends.len() < MAX_SENDS => {
                verification.sends.push(now)
            }
            _ => return Err(Failure(429, 60203, "Max send attempts reached".to_owned())),
        }
        self.describe(service, to)
    }

    /// Ends a pending verification.
    fn update(&mut self, service: &str, sid: &str, status: &str) -> Result<Value, Failure> {
        if !matches!(status, "canceled" | "approved") {
            return Err(Failure(400, 60200, format!("Invalid parameter `Status`: {status}")));
        }
        let found = self
            .verifications
            .iter_mut()
            .find(|(key, found)| found.sid == sid && found.is_open() && key.starts_with(service));
        let Some((key, verification)) = found else {
            return Err(Failure::not_found(&format!("/Services/{service}/Verifications/{sid}")));
        };
        let to = key.rsplit(' ').next().unwrap_or_default().to_owned();
        verification.canceled = status == "canceled";
        verification.approved = status == "approved";
        self.describe(service, &to)
    }

    /// A wrong code is no error. After five checks nothing is accepted any more until the code has
    /// expired.
    fn check_code(&mut self, service: &str, to: &str, code: &str) -> Result<Value, Failure> {
        if !(4..=10).contains(&code.len()) {
            return Err(Failure(400, 60200, format!("Invalid parameter `Code`: {code}")));
        }
        let found = self.verifications.get_mut(&key(service, to));
        let Some(verification) = found.filter(|found| found.is_open()) else {
            return Err(Failure::not_found(&format!("/Services/{service}/VerificationCheck")));
        };
        if verification.checks >= MAX_CHECKS {
            return Err(Failure(429, 60202, "Max check attempts reached".to_owned()));
        }
        verification.checks += 1;
        verification.approved = verification.code == code;
        self.describe(service, to)
    }

    fn describe(&self, service: &str, to: &str) -> Result<Value, Failure> {
        let verification = self.verifications.get(&key(service, to));
        let verification = verification.ok_or_else(|| Failure::not_found("/Verifications"))?;
        let status = match verification {
            Verification { approved: true, .. } => "approved",
            Verification { canceled: true, .. } => "canceled",
            _ => "pending",
        };
        let sends = verification.sends.iter().map(|at| {
            json!({"attempt_sid": format!("VL{}", random::hex(32)), "channel": verification.channel, "time": time(*at)})
        });
        Ok(json!({
            "sid": verification.sid,
            "service_sid": service,
            "account_sid": self.account_sid,
            "to": to,
            "channel": verification.channel,
            "status": status,
            "valid": verification.approved,
            "amount": null,
            "payee": null,
            "lookup": {},
            "sna": null,
            "send_code_attempts": sends.collect::<Vec<_>>(),
            "date_created": time(verification.created_at),
            "date_updated": time(Utc::now()),
            "url": format!("https://verify.twilio.com/v2/Services/{service}/Verifications/{}", verification.sid),
        }))
    }

    fn send_message(&mut self, to: &str, from: &str, body: &str) -> Result<Value, Failure> {
        if to.is_empty() {
            return Err(Failure(400, 21604, "A 'To' phone number is required.".to_owned()));
        }
        if !is_phone(to) {
            return Err(Failure(
                400,
                21211,
                format!("The 'To' number {to} is not a valid phone number."),
            ));
        }
        if from.is_empty() {
            return Err(Failure(400, 21603, "A 'From' phone number is required.".to_owned()));
        }
        if from == WRONG_SENDER {
            return Err(Failure(400, 21212, format!("Invalid From Number: {from}")));
        }
        if body.is_empty() {
            return Err(Failure(400, 21602, "Message body is required.".to_owned()));
        }
        if body.chars().count() > MAX_BODY {
            let message = "The concatenated message body exceeds the 1600 character limit.";
            return Err(Failure(400, 21617, message.to_owned()));
        }
        let sid = format!("SM{}", random::hex(32));
        let sms = Sms { sid, to: to.into(), from: from.into(), body: body.into(), at: Utc::now() };
        let is_service = from.starts_with("MG");
        let answer = json!({
            "sid": sms.sid,
            "account_sid": self.account_sid,
            "messaging_service_sid": is_service.then_some(from),
            "api_version": "2010-04-01",
            "to": to,
            "from": (!is_service).then_some(from),
            "body": body,
            "status": "queued",
            "direction": "outbound-api",
            "num_segments": "1",
            "num_media": "0",
            "error_code": null,
            "error_message": null,
            "price": null,
            "price_unit": "USD",
            "date_created": sms.at.to_rfc2822(),
            "date_updated": sms.at.to_rfc2822(),
            "date_sent": null,
            "uri": format!("/2010-04-01/Accounts/{}/Messages/{}.json", self.account_sid, sms.sid),
        });
        recent::push(&mut self.messages, LIMIT, sms);
        Ok(answer)
    }
}

fn key(service: &str, phone: &str) -> String {
    format!("{service} {phone}")
}

/// HTTP status, Twilio's code, message.
struct Failure(u16, u32, String);

impl Failure {
    fn not_found(resource: &str) -> Self {
        Self(404, 20404, format!("The requested resource {resource} was not found"))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self(status, code, message) = self;
        let http = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        (http, Json(error_body(status, code, &message))).into_response()
    }
}

/// The shape of all of Twilio's errors.
pub(crate) fn error_body(status: u16, code: u32, message: &str) -> Value {
    let more_info = format!("https://www.twilio.com/docs/errors/{code}");
    json!({"code": code, "message": message, "more_info": more_info, "status": status})
}

/// E.164: a plus and 7 to 15 digits.
fn is_phone(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
