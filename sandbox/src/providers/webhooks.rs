//! Razorpay's webhooks: signed events, delivered at least once, retried with growing pauses,
//! replayed on request.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::{Notify, watch};

use super::ProvidersConfig;
use super::calls::{Call, Calls};
use super::fault_injector::Fault;
use super::locked::locked;
use super::recent::Recent;
use super::target::Target;
use crate::random;

const LIMIT: usize = 20_000;
/// Razorpay gives a receiver this long to answer 2xx.
const DEADLINE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
const ATTEMPTS_KEPT: usize = 50;

/// Lower-case hexadecimal HMAC-SHA256, the form of all of Razorpay's signatures.
pub fn sign(secret: &str, message: &[u8]) -> String {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key");
    mac.update(message);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One HTTP request that carried an event.
#[derive(Debug, Clone, Serialize)]
pub struct Attempt {
    /// When it was sent.
    pub at: DateTime<Utc>,
    /// The receiver's answer, if there was one.
    pub status: Option<u16>,
    /// What went wrong otherwise.
    pub error: Option<String>,
    /// How long it took.
    pub duration_ms: u64,
}

impl Attempt {
    fn succeeded(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// An event and what became of its delivery.
#[derive(Debug, Clone, Serialize)]
pub struct WebhookEvent {
    /// `x-razorpay-event-id`, the same on every delivery.
    pub event_id: String,
    /// `payment.captured`, …
    pub event: String,
    /// `pending`, `delivered` or `lost` (by a scripted fault).
    pub state: &'static str,
    /// The newest deliveries, oldest first.
    pub attempts: Vec<Attempt>,
    /// The body, byte for byte as it is signed and sent.
    pub body: String,
}

pub(crate) struct Webhooks {
    account_id: String,
    secret: String,
    first_pause: Duration,
    url: watch::Sender<Option<String>>,
    client: reqwest::Client,
    events: Mutex<Recent<WebhookEvent>>,
    delivered: Arc<Notify>,
}

impl Webhooks {
    pub(crate) fn new(config: &ProvidersConfig) -> Result<Self> {
        // The client insists on a TLS provider even though it only ever talks to loopback; the
        // machine's certificates take long to read.
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(DEADLINE);
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self {
            account_id: format!("acc_{}", random::alphanumeric(14)),
            secret: config.razorpay_webhook_secret.clone(),
            first_pause: config.webhook_retry,
            url: watch::Sender::new(config.webhook_url.clone()),
            client: client.build()?,
            events: Mutex::new(Recent::new(LIMIT)),
            delivered: Arc::default(),
        })
    }

    pub(crate) fn set_url(&self, url: String) {
        self.url.send_replace(Some(url));
    }

    pub(crate) fn list(&self) -> Vec<WebhookEvent> {
        locked(&self.events).iter().cloned().collect()
    }

    /// Puts an event into its envelope; returns its id.
    pub(crate) fn record(&self, event: &str, payload: Value) -> String {
        let contains: Vec<&String> =
            payload.as_object().into_iter().flatten().map(|(name, _)| name).collect();
        let body = json!({
            "entity": "event",
            "account_id": self.account_id,
            "event": event,
            "contains": contains,
            "payload": payload,
            "created_at": Utc::now().timestamp(),
        });
        let event_id = random::alphanumeric(14);
        let (event, body) = (event.to_owned(), body.to_string());
        let recorded = WebhookEvent {
            event_id: event_id.clone(),
            event,
            state: "pending",
            attempts: Vec::new(),
            body,
        };
        locked(&self.events).insert(&event_id, recorded);
        event_id
    }

    /// Delivers an event until the receiver accepts it. A scripted fault applies to its first round
    /// only.
    pub(crate) async fn deliver(&self, fault: Fault, calls: &Calls, event_id: &str) {
        if fault.lose {
            self.note(event_id, |event| event.state = "lost");
            return;
        }
        if fault.reorder {
            let _ = tokio::time::timeout(DEADLINE, self.delivered.notified()).await;
        }
        tokio::time::sleep(Duration::from_millis(fault.late_ms)).await;

        let mut copies = 1 + fault.duplicate;
        let mut pause = self.first_pause;
        // Ends early when the event has become so old that it was forgotten.
        while let Some(attempts) = self.send(calls, event_id, copies).await {
            if attempts.iter().any(Attempt::succeeded) {
                self.delivered.notify_waiters();
                return;
            }
            tokio::time::sleep(pause).await;
            (copies, pause) = (1, (pause * 2).min(LONGEST_PAUSE));
        }
    }

    pub(crate) async fn replay(
        &self,
        calls: &Calls,
        event_id: &str,
        times: usize,
    ) -> Result<Vec<Attempt>> {
        anyhow::ensure!(self.url.borrow().is_some(), "no webhook address is set");
        self.send(calls, event_id, times).await.context("no such event")
    }

    /// Sends copies of an event at the same time, once there is an address. `None` when the event
    /// is unknown.
    async fn send(&self, calls: &Calls, event_id: &str, copies: usize) -> Option<Vec<Attempt>> {
        let body = locked(&self.events).get(event_id)?.body.clone();
        let url = self.url.subscribe().wait_for(Option::is_some).await.ok()?.clone()?;
        let attempts = join_all((0..copies).map(|_| self.post(calls, &url, event_id, &body))).await;
        self.note(event_id, |event| {
            event.attempts.extend_from_slice(&attempts);
            let surplus = event.attempts.len().saturating_sub(ATTEMPTS_KEPT);
            event.attempts.drain(..surplus);
            if attempts.iter().any(Attempt::succeeded) {
                event.state = "delivered";
            }
        });
        Some(attempts)
    }

    async fn post(&self, calls: &Calls, url: &str, event_id: &str, body: &str) -> Attempt {
        let (at, started) = (Utc::now(), tokio::time::Instant::now());
        let result = self
            .client
            .post(url)
            .header("content-type", "application/json")
            .header("x-razorpay-signature", sign(&self.secret, body.as_bytes()))
            .header("x-razorpay-event-id", event_id)
            .body(body.to_owned())
            .send()
            .await;
        let (status, error) = match result {
            Ok(response) => (Some(response.status().as_u16()), None),
            Err(error) => (None, Some(format!("{:#}", anyhow::Error::from(error)))),
        };
        calls.record(Call {
            at,
            target: Target::Webhook,
            method: "POST".into(),
            path: url.to_owned(),
            status,
        });
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Attempt { at, status, error, duration_ms }
    }

    fn note(&self, event_id: &str, change: impl FnOnce(&mut WebhookEvent)) {
        if let Some(event) = locked(&self.events).get_mut(event_id) {
            change(event);
        }
    }
}
