//! Stand-ins for Razorpay, Twilio and a mail server: real HTTP and SMTP, real signatures, scripted
//! faults.
//!
//! - `razorpay`: orders, payments, refunds, disputes: their rules, their HTTP routes
//! - `webhooks`: signed events to the webhook URL, with retries and replays
//! - `twilio`: one-time passwords (Verify) and text messages: their rules, their HTTP routes
//! - `breaches`: passwords that have appeared in breaches, by k-anonymity
//! - `captcha`: who is a person
//! - `smtp`, `mail`: the mail server; what it received, parsed
//! - `target`, `fault_injector`, `calls`: kinds of calls; what goes wrong on purpose; the calls
//!   that came
//! - `route`: the frame around every HTTP route of a provider
//! - `control`: `/sandbox/…`: everything above for people and scripts
//! - `server`, `provider_state`, `recent`, `locked`: listeners, shared state, bounded collections,
//!   mutexes

mod breaches;
mod calls;
mod captcha;
mod config;
mod control;
mod fault_injector;
mod locked;
mod mail;
mod provider_state;
mod razorpay;
mod recent;
mod route;
mod server;
mod smtp;
mod target;
mod twilio;
mod webhooks;

use std::sync::Arc;

use anyhow::Result;

pub use calls::{Call, Count};
pub use config::ProvidersConfig;
pub use fault_injector::{ActiveFault, Fault};
pub use mail::{Attachment, Mail};
pub use razorpay::{
    Dispute, DisputeMove, OpenDispute, Order, Outcome, Paid, Pay, Payment, Refund, Refusal,
};
pub use target::Target;
pub use twilio::{OTHER_VERIFY_SID, Otp, Sms};
pub use webhooks::{Attempt, WebhookEvent, sign};

use provider_state::ProviderState;
use server::Switch;

/// The running stand-ins. Dropping them closes their ports and ends all deliveries.
///
/// "Provider down" is [`Providers::stop`]; its state survives until [`Providers::resume`].
pub struct Providers {
    state: Arc<ProviderState>,
    http: Switch,
    smtp: Switch,
}

impl Providers {
    /// Starts one HTTP server for Razorpay, Twilio and `/sandbox`, and one SMTP server, both on
    /// loopback.
    pub async fn start(config: ProvidersConfig) -> Result<Self> {
        let (http_port, smtp_port) = (config.port, config.smtp_port);
        let state = ProviderState::new(config)?;
        let router = control::router(&state)
            .merge(razorpay::api::router(&state))
            .merge(twilio::api::router(&state))
            .merge(breaches::router(&state))
            .merge(captcha::router(&state));
        let http = Switch::start(http_port, server::http(router)).await?;
        let smtp = Switch::start(smtp_port, smtp::service(state.clone())).await?;
        Ok(Self { state, http, smtp })
    }

    /// Provider down: both servers refuse connections and cut the open ones. Webhooks already under
    /// way go on.
    pub async fn stop(&self) {
        self.stop_http().await;
        self.stop_smtp().await;
    }

    /// Provider back, on the same ports.
    pub async fn resume(&self) -> Result<()> {
        self.resume_http().await?;
        self.resume_smtp().await
    }

    /// Razorpay and Twilio down (and `/sandbox` with them).
    pub async fn stop_http(&self) {
        self.http.stop().await;
    }

    /// Razorpay and Twilio back.
    pub async fn resume_http(&self) -> Result<()> {
        self.http.resume().await
    }

    /// The mail server down.
    pub async fn stop_smtp(&self) {
        self.smtp.stop().await;
    }

    /// The mail server back.
    pub async fn resume_smtp(&self) -> Result<()> {
        self.smtp.resume().await
    }

    /// The credentials and timings in force.
    pub fn config(&self) -> &ProvidersConfig {
        &self.state.config
    }

    /// Where the HTTP stand-ins listen, without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http.port())
    }

    /// `RAZORPAY_API_URL`.
    pub fn razorpay_url(&self) -> String {
        format!("{}/razorpay", self.url())
    }

    /// `TWILIO_VERIFY_URL`.
    pub fn twilio_verify_url(&self) -> String {
        format!("{}/twilio-verify", self.url())
    }

    /// `TWILIO_API_URL`.
    pub fn twilio_url(&self) -> String {
        format!("{}/twilio", self.url())
    }

    /// `PASSWORD_BREACH_URL`, which [`Providers::env`] leaves out: few installations set it.
    pub fn breaches_url(&self) -> String {
        format!("{}/breaches/range", self.url())
    }

    /// `CAPTCHA_VERIFY_URL` and `CAPTCHA_SECRET`, which [`Providers::env`] leaves out likewise.
    pub fn captcha(&self) -> (String, &'static str) {
        (format!("{}/captcha/siteverify", self.url()), captcha::SECRET)
    }

    /// From now on, the password has appeared in a breach.
    pub fn breach(&self, password: &str) {
        self.state.breached().push(breaches::hash(password));
    }

    /// `SMTP_URL`.
    pub fn smtp_url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.smtp.port())
    }

    /// The environment that makes a process talk to these stand-ins.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        let config = self.config();
        vec![
            ("RAZORPAY_API_URL", self.razorpay_url()),
            ("RAZORPAY_KEY_ID", config.razorpay_key_id.clone()),
            ("RAZORPAY_KEY_SECRET", config.razorpay_key_secret.clone()),
            ("RAZORPAY_WEBHOOK_SECRET", config.razorpay_webhook_secret.clone()),
            ("TWILIO_VERIFY_URL", self.twilio_verify_url()),
            ("TWILIO_API_URL", self.twilio_url()),
            ("TWILIO_ACCOUNT_SID", config.twilio_account_sid.clone()),
            ("TWILIO_AUTH_TOKEN", config.twilio_auth_token.clone()),
            ("TWILIO_VERIFY_SID", config.twilio_verify_sid.clone()),
            ("SMTP_URL", self.smtp_url()),
        ]
    }

    /// Where webhooks go from now on. Events that happened before wait for the first address.
    pub fn set_webhook_url(&self, url: impl Into<String>) {
        self.state.webhooks.set_url(url.into());
    }

    /// Makes the next `times` calls of `target` go wrong; `None` means all of them.
    pub fn fault(&self, target: Target, times: Option<u32>, fault: Fault) {
        let (percent, seed, about) = (None, None, None);
        self.state.faults.add(ActiveFault { target, times, percent, seed, about, fault });
    }

    /// Makes every call of `target` go wrong whose path names `id`.
    pub fn fault_about(&self, target: Target, id: &str, fault: Fault) {
        let (times, percent, seed, about) = (None, None, None, Some(id.to_owned()));
        self.state.faults.add(ActiveFault { target, times, percent, seed, about, fault });
    }

    /// Makes so many of a hundred calls of `target` go wrong, drawn from `seed`; of the spared ones
    /// the next fault's share, and so on.
    pub fn faults_by_chance(&self, target: Target, seed: u64, shares: &[(u8, Fault)]) {
        for (percent, fault) in shares {
            let (times, percent, seed, about) = (None, Some(*percent), Some(seed), None);
            self.state.faults.add(ActiveFault {
                target,
                times,
                percent,
                seed,
                about,
                fault: fault.clone(),
            });
        }
    }

    /// What is still to go wrong.
    pub fn faults(&self) -> Vec<ActiveFault> {
        self.state.faults.list()
    }

    /// Everything works again.
    pub fn clear_faults(&self) {
        self.state.faults.clear();
    }

    /// The newest one-time password sent to a phone.
    pub fn otp(&self, phone: &str) -> Option<Otp> {
        self.otp_of(&self.config().twilio_verify_sid, phone)
    }

    /// The newest one of a service of Verify.
    pub fn otp_of(&self, service: &str, phone: &str) -> Option<Otp> {
        self.state.twilio().otp(service, phone)
    }

    /// Text messages, oldest first.
    pub fn sms(&self) -> Vec<Sms> {
        self.state.twilio().sms()
    }

    /// Mails, oldest first.
    pub fn mail(&self) -> Vec<Mail> {
        self.state.mailbox().iter().cloned().collect()
    }

    /// Forgets all mail.
    pub fn clear_mail(&self) {
        self.state.mailbox().clear();
    }

    /// Pays an order as a buyer at the checkout would; the webhooks follow.
    pub fn pay(&self, pay: &Pay) -> Result<Paid, Refusal> {
        self.state.razorpay(|razorpay| razorpay.pay(pay))
    }

    /// The bank cannot make the next `times` refunds: they end as `failed`.
    pub fn fail_refunds(&self, times: u32) {
        self.state.razorpay(|razorpay| razorpay.fail_refunds(times));
    }

    /// Refunds a payment as a person at Razorpay's dashboard would: all that is left of it, or
    /// `amount` paise.
    pub fn refund_manually(
        &self,
        payment_id: &str,
        amount: Option<i64>,
    ) -> Result<Refund, Refusal> {
        self.state.refund_manually(payment_id, amount)
    }

    /// A buyer's bank disputes a payment.
    pub fn open_dispute(&self, open: &OpenDispute) -> Result<Dispute, Refusal> {
        self.state.razorpay(|razorpay| razorpay.open_dispute(open))
    }

    /// A dispute goes on, or ends.
    pub fn move_dispute(&self, id: &str, to: DisputeMove) -> Result<Dispute, Refusal> {
        self.state.razorpay(|razorpay| razorpay.move_dispute(id, to))
    }

    /// Creates an order as the API would, `body` being what it would send.
    pub fn create_order(&self, body: &serde_json::Value) -> Result<Order, Refusal> {
        self.state.razorpay(|razorpay| razorpay.create_order(body))
    }

    /// Orders, oldest first.
    pub fn orders(&self) -> Vec<Order> {
        self.state.razorpay(|razorpay| razorpay.orders())
    }

    /// Payments, oldest first.
    pub fn payments(&self) -> Vec<Payment> {
        self.state.razorpay(|razorpay| razorpay.payments())
    }

    /// Refunds, oldest first.
    pub fn refunds(&self) -> Vec<Refund> {
        self.state.razorpay(|razorpay| razorpay.refunds())
    }

    /// Webhook events and their delivery attempts, oldest first.
    pub fn webhooks(&self) -> Vec<WebhookEvent> {
        self.state.webhooks.list()
    }

    /// Delivers an event again, `times` at once, and says how each attempt went.
    pub async fn replay(&self, event_id: &str, times: usize) -> Result<Vec<Attempt>> {
        self.state.webhooks.replay(&self.state.calls, event_id, times).await
    }

    /// Sends an event that the caller made up, for instance of an unknown type; returns its id.
    pub fn send_webhook(&self, event: &str, payload: serde_json::Value) -> String {
        self.state.emit(event, payload)
    }

    /// How often a target was called, and how often successfully.
    pub fn count(&self, target: Target) -> Count {
        self.state.calls.count(target)
    }

    /// The newest calls of a target, oldest first.
    pub fn calls(&self, target: Target) -> Vec<Call> {
        self.state.calls.newest().into_iter().filter(|call| call.target == target).collect()
    }
}

impl Drop for Providers {
    fn drop(&mut self) {
        self.state.closed.cancel();
    }
}
