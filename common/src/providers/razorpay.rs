//! Razorpay: orders, captures, refunds, and the signatures of its webhooks
//! (docs/providers.md#razorpay).

mod lists;

use std::{collections::BTreeMap, time::Duration};

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::Sha256;

pub use self::lists::{PAGE, Span};
use super::{CallError, Key, Provider, http};
use crate::config::Razorpay as Settings;

const PROVIDER: Provider = Provider { name: "Razorpay", explain, final_codes: &[], key_codes: &[] };

/// The client. Cheap to clone.
#[derive(Clone)]
pub struct Razorpay {
    http: reqwest::Client,
    settings: Settings,
    key: Key,
}

/// An order as Razorpay has it.
#[derive(Debug, Deserialize)]
pub struct Order {
    pub id: String,
    pub amount: i64,
    pub currency: String,
    pub receipt: Option<String>,
    /// `[]` when there are none.
    #[serde(default)]
    pub notes: Value,
}

/// A payment as Razorpay has it.
#[derive(Debug, Deserialize)]
pub struct Payment {
    pub id: String,
    pub order_id: Option<String>,
    pub amount: i64,
    pub currency: String,
    pub status: String,
    /// Refunds that are under way count.
    #[serde(default)]
    pub amount_refunded: i64,
    /// When the buyer began to pay, in seconds since 1970.
    #[serde(default)]
    pub created_at: i64,
}

/// A refund as Razorpay has it.
#[derive(Debug, Deserialize)]
pub struct Refund {
    pub id: String,
    pub status: String,
    pub payment_id: String,
    pub amount: i64,
    /// The idempotency key, if the refund is ours.
    pub receipt: Option<String>,
}

/// A dispute as Razorpay has it.
#[derive(Debug, Deserialize)]
pub struct Dispute {
    pub id: String,
    pub payment_id: String,
    pub amount: i64,
    pub currency: String,
    pub amount_deducted: Option<i64>,
    pub reason_code: Option<String>,
    /// In seconds since 1970.
    pub respond_by: Option<i64>,
    pub status: String,
    pub phase: Option<String>,
}

/// An order to create.
#[derive(Debug)]
pub struct NewOrder<'a> {
    pub amount_paise: i64,
    pub currency: &'a str,
    /// At most 40 characters; the order can be found by it.
    pub receipt: &'a str,
    pub notes: BTreeMap<&'a str, String>,
    /// How long the buyer has to pay.
    pub valid: Duration,
}

/// The shortest time, in minutes after a payment was begun, that Razorpay accepts for automatic
/// capture.
const SHORTEST_CAPTURE: u64 = 12;
/// How many minutes longer we may capture a payment that was authorized late; after that it goes
/// back to the buyer by itself.
const LATE_CAPTURE: u64 = 60;

impl NewOrder<'_> {
    fn body(&self) -> Value {
        let automatic = self.valid.as_secs().div_ceil(60).max(SHORTEST_CAPTURE);
        json!({
            "amount": self.amount_paise,
            "currency": self.currency,
            "receipt": self.receipt,
            "notes": self.notes,
            "payment": {
                "capture": "automatic",
                "capture_options": {
                    "automatic_expiry_period": automatic,
                    "manual_expiry_period": automatic + LATE_CAPTURE,
                    "refund_speed": "normal",
                },
            },
        })
    }
}

impl Razorpay {
    /// A client for the account in `settings`.
    pub fn new(settings: &Settings) -> crate::Result<Self> {
        let key = Key::new(PROVIDER.name, "RAZORPAY_KEY_SECRET, or RAZORPAY_KEY_ID,");
        Ok(Razorpay { http: http()?, settings: settings.clone(), key })
    }

    /// Our key at Razorpay.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The public half of the API key.
    pub fn key_id(&self) -> &str {
        &self.settings.key_id
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.settings.api_url))
            .basic_auth(&self.settings.key_id, Some(self.settings.key_secret.expose_secret()))
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        PROVIDER.call(&self.key, self.request(reqwest::Method::GET, path)).await
    }

    /// Creates an order. Not idempotent: a superfluous order is harmless, because its receipt
    /// identifies it.
    pub async fn create_order(&self, order: &NewOrder<'_>) -> Result<Order, CallError> {
        PROVIDER
            .call(&self.key, self.request(reqwest::Method::POST, "/v1/orders").json(&order.body()))
            .await
    }

    /// An order by its id.
    pub async fn order(&self, id: &str) -> Result<Order, CallError> {
        self.get(&format!("/v1/orders/{}", path_segment(id))).await
    }

    /// A dispute by its id.
    pub async fn dispute(&self, id: &str) -> Result<Dispute, CallError> {
        self.get(&format!("/v1/disputes/{}", path_segment(id))).await
    }

    /// A payment by its id.
    pub async fn payment(&self, id: &str) -> Result<Payment, CallError> {
        self.get(&format!("/v1/payments/{}", path_segment(id))).await
    }

    /// Captures an authorized payment. Razorpay refuses to capture twice; see
    /// [`Razorpay::payment`].
    pub async fn capture(
        &self,
        payment_id: &str,
        amount_paise: i64,
        currency: &str,
    ) -> Result<Payment, CallError> {
        let path = format!("/v1/payments/{}/capture", path_segment(payment_id));
        let body = json!({ "amount": amount_paise, "currency": currency });
        PROVIDER.call(&self.key, self.request(reqwest::Method::POST, &path).json(&body)).await
    }

    /// Makes sure that an authorized payment is captured; false when it no longer can be. Razorpay
    /// refuses a second capture, so a refusal is followed by a look.
    pub async fn ensure_captured(
        &self,
        payment_id: &str,
        amount_paise: i64,
        currency: &str,
    ) -> Result<bool, CallError> {
        match self.capture(payment_id, amount_paise, currency).await {
            Ok(_) => Ok(true),
            Err(CallError::Refused { .. }) => {
                Ok(self.payment(payment_id).await?.status == "captured")
            }
            Err(error) => Err(error),
        }
    }

    /// Refunds a payment, or a part of it. A repeated request with the same `idempotency_key` (at
    /// least ten of `A-Za-z0-9-_`) makes no second refund.
    pub async fn refund(
        &self,
        payment_id: &str,
        amount_paise: i64,
        idempotency_key: &str,
        notes: &BTreeMap<&str, String>,
    ) -> Result<Refund, CallError> {
        let path = format!("/v1/payments/{}/refund", path_segment(payment_id));
        let body = json!({ "amount": amount_paise, "speed": "normal", "receipt": idempotency_key, "notes": notes });
        let request = self
            .request(reqwest::Method::POST, &path)
            .header("X-Refund-Idempotency", idempotency_key)
            .json(&body);
        PROVIDER.call(&self.key, request).await
    }
}

/// Whether Razorpay refused an order because of its amount: below its minimum, or above what this
/// account may take.
pub fn refuses_amount(error: &CallError) -> bool {
    matches!(error, CallError::Refused { message, .. } if message.to_ascii_lowercase().contains("amount"))
}

/// Ids come from webhooks and clients: nothing in them may change the path.
fn path_segment(id: &str) -> String {
    id.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).collect()
}

fn explain(body: &Value) -> (Option<String>, String) {
    let text = |field: &str| body["error"][field].as_str().map(str::to_owned);
    (text("code"), text("description").unwrap_or_else(|| "no explanation".into()))
}

/// Whether `signature` (lower-case hex) is the HMAC-SHA256 of `body` under one of `secrets`. Takes
/// the same time for every wrong signature.
pub fn webhook_is_signed(secrets: &[SecretString], body: &[u8], signature: &str) -> bool {
    let Some(signature) = lower_hex(signature) else { return false };
    secrets.iter().any(|secret| {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()) else {
            return false;
        };
        mac.update(body);
        mac.verify_slice(&signature).is_ok()
    })
}

fn lower_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 64 {
        return None;
    }
    text.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIGNATURE: &str = "5d5d139563c95b5967b9bd9a8c9b233a9dedb45072794cd232dc1b74832607d0";

    #[test]
    fn a_signature_is_checked_against_every_secret() {
        // The RFC 4231 style vector: HMAC-SHA256("key", ...) of a fixed body, computed with
        // openssl.
        let body = b"The quick brown fox jumps over the lazy dog";
        let signature = "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8";
        let secrets =
            |names: &[&str]| names.iter().map(|s| SecretString::from(*s)).collect::<Vec<_>>();
        assert!(webhook_is_signed(&secrets(&["old", "key"]), body, signature));
        assert!(!webhook_is_signed(&secrets(&["old"]), body, signature));
        assert!(!webhook_is_signed(&secrets(&["key"]), body, &signature.to_uppercase()));
        assert!(!webhook_is_signed(&secrets(&["key"]), b"another body", signature));
    }

    #[test]
    fn an_order_is_captured_in_time_or_goes_back() {
        let order = |minutes: u64| NewOrder {
            amount_paise: 100,
            currency: "INR",
            receipt: "BKG-1",
            notes: BTreeMap::new(),
            valid: Duration::from_secs(minutes * 60),
        };
        let options = |minutes| order(minutes).body()["payment"]["capture_options"].take();
        let expected = |automatic: u64, manual: u64| json!({"automatic_expiry_period": automatic, "manual_expiry_period": manual, "refund_speed": "normal"});
        assert_eq!(options(15), expected(15, 75));
        assert_eq!(
            options(1),
            expected(12, 72),
            "twelve minutes are the least that Razorpay takes"
        );
    }

    #[test]
    fn a_refused_amount_is_told_from_other_refusals() {
        let refused = |message: &str| CallError::Refused {
            provider: "Razorpay",
            status: 400,
            code: Some("BAD_REQUEST_ERROR".into()),
            message: message.into(),
        };
        assert!(refuses_amount(&refused("Order amount less than minimum amount allowed")));
        assert!(refuses_amount(&refused("Amount exceeds maximum amount allowed.")));
        assert!(!refuses_amount(&refused("Currency is not supported")));
    }

    #[test]
    fn an_id_cannot_leave_its_place_in_the_path() {
        assert_eq!(path_segment("pay_1/../../orders?x=%2e"), "pay_1ordersx2e");
    }

    proptest! {
        #[test]
        fn no_signature_is_too_odd(text in ".*") {
            prop_assert!(!webhook_is_signed(&[SecretString::from("key")], SIGNATURE.as_bytes(), &text));
        }
    }
}
