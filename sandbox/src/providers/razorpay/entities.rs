//! Razorpay's entities, field for field as they travel.

use std::time::Instant;

use chrono::Utc;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::random;

/// An order: what a buyer is asked to pay. Amounts are in paise.
#[derive(Debug, Clone, Serialize)]
pub struct Order {
    pub id: String,
    pub entity: &'static str,
    pub amount: i64,
    pub amount_paid: i64,
    pub amount_due: i64,
    pub currency: String,
    pub receipt: Option<String>,
    pub status: &'static str,
    pub attempts: u32,
    pub notes: Value,
    pub created_at: i64,
    /// For so many minutes from its beginning a payment may be captured; then it goes back.
    /// Razorpay does not show it.
    #[serde(skip)]
    pub capture_minutes: Option<u32>,
}

/// One attempt to pay an order.
#[derive(Debug, Clone, Serialize)]
pub struct Payment {
    pub id: String,
    pub entity: &'static str,
    pub amount: i64,
    pub currency: String,
    pub status: &'static str,
    pub order_id: String,
    pub method: String,
    pub captured: bool,
    pub amount_refunded: i64,
    pub refund_status: Option<&'static str>,
    pub email: String,
    pub contact: String,
    pub notes: Value,
    pub fee: Option<i64>,
    pub tax: Option<i64>,
    pub error_code: Option<String>,
    pub error_description: Option<String>,
    pub created_at: i64,
    #[serde(skip)]
    pub(super) begun: Instant,
}

impl Payment {
    pub(super) fn new(order: &Order, pay: &Pay) -> Self {
        Self {
            id: format!("pay_{}", random::alphanumeric(14)),
            entity: "payment",
            amount: pay.amount.unwrap_or(order.amount),
            currency: pay.currency.clone().unwrap_or_else(|| order.currency.clone()),
            status: "created",
            order_id: order.id.clone(),
            method: pay.method.clone().unwrap_or_else(|| "upi".to_owned()),
            captured: false,
            amount_refunded: 0,
            refund_status: None,
            email: pay.email.clone().unwrap_or_else(|| "buyer@example.com".to_owned()),
            contact: pay.contact.clone().unwrap_or_else(|| "+919876543210".to_owned()),
            notes: order.notes.clone(),
            fee: None,
            tax: None,
            error_code: None,
            error_description: None,
            created_at: pay.created_at.unwrap_or_else(|| Utc::now().timestamp()),
            begun: Instant::now(),
        }
    }
}

/// Money on its way back.
#[derive(Debug, Clone, Serialize)]
pub struct Refund {
    pub id: String,
    pub entity: &'static str,
    pub payment_id: String,
    pub amount: i64,
    pub currency: String,
    pub status: &'static str,
    pub speed_requested: String,
    pub speed_processed: &'static str,
    pub receipt: Option<String>,
    pub notes: Value,
    pub acquirer_data: Value,
    pub created_at: i64,
}

/// A payment that a buyer's bank asks back.
#[derive(Debug, Clone, Serialize)]
pub struct Dispute {
    pub id: String,
    pub entity: &'static str,
    pub payment_id: String,
    pub amount: i64,
    pub currency: String,
    pub amount_deducted: i64,
    pub reason_code: String,
    pub respond_by: i64,
    pub status: &'static str,
    pub phase: String,
    pub created_at: i64,
    pub evidence: Value,
}

/// A dispute to open. Everything but the payment has a sensible default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenDispute {
    /// The payment that is disputed.
    pub payment_id: String,
    /// A part of it, in paise.
    pub amount: Option<i64>,
    /// The bank takes the money at once, not only when the dispute is lost.
    #[serde(default)]
    pub deduct: bool,
    /// `chargeback`, `fraud`, `retrieval`, …
    pub phase: Option<String>,
    /// In seconds since 1970; a week from now unless said.
    pub respond_by: Option<i64>,
}

/// What becomes of a dispute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisputeMove {
    /// The bank looks at the evidence.
    UnderReview,
    /// It wants more of it.
    ActionRequired,
    /// The shop keeps the money.
    Win,
    /// The buyer keeps the money.
    Lose,
    /// It has come to nothing.
    Close,
}

/// How a payment ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The money has arrived.
    #[default]
    Captured,
    /// The bank has reserved the money; it still has to be captured.
    Authorized,
    /// The bank refused.
    Failed,
}

/// A payment to make. Everything but the order has a sensible default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pay {
    /// The order to pay.
    pub order_id: String,
    /// How it ends.
    #[serde(default)]
    pub outcome: Outcome,
    /// An earlier payment that changes its mind (failed, then authorised days later), instead of a
    /// new one.
    pub payment_id: Option<String>,
    /// Something other than the order's amount, in paise.
    pub amount: Option<i64>,
    /// Something other than the order's currency.
    pub currency: Option<String>,
    /// `upi`, `card`, …
    pub method: Option<String>,
    /// The buyer's e-mail address.
    pub email: Option<String>,
    /// The buyer's phone.
    pub contact: Option<String>,
    /// When it was begun, if not now, in seconds since 1970.
    pub created_at: Option<i64>,
}

impl Pay {
    /// A payment of exactly what the order asks for.
    pub fn order(order_id: impl Into<String>, outcome: Outcome) -> Self {
        Self { order_id: order_id.into(), outcome, ..Self::default() }
    }
}

/// What the checkout hands to the shop's page after a payment.
#[derive(Debug, Clone, Serialize)]
pub struct Paid {
    /// The payment made.
    pub payment: Payment,
    /// Its order afterwards.
    pub order: Order,
    /// HMAC of `order_id|payment_id` under the key secret.
    pub razorpay_signature: String,
}
