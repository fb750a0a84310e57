//! Razorpay's rules: what orders, payments and refunds are, and what may happen to them. Disputes
//! are in `disputes`.
//!
//! Routes are in `api`; the events recorded here are delivered by `webhooks`.

pub(crate) mod api;
mod disputes;
mod entities;
mod fields;
mod refusal;

use std::collections::HashSet;
use std::time::Instant;

use chrono::Utc;
use serde_json::{Value, json};

use crate::providers::recent::Recent;
use crate::providers::webhooks::sign;
use crate::random;

pub use entities::{Dispute, DisputeMove, OpenDispute, Order, Outcome, Paid, Pay, Payment, Refund};
use fields::{amount, capture_minutes, notes, receipt};
pub use refusal::Refusal;

const LIMIT: usize = 50_000;
/// Paise that one payment may have, unless Razorpay and the shop agree on more.
const MAXIMUM: i64 = 50_000_000;
const CURRENCIES: [&str; 7] = ["INR", "USD", "EUR", "GBP", "SGD", "AED", "AUD"];

/// Something a webhook tells.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) name: &'static str,
    pub(crate) payload: Value,
}

/// What a refund key was first used for.
#[derive(Debug)]
struct RefundKey {
    payment_id: String,
    body: Value,
    refund_id: String,
}

#[derive(Debug)]
pub(crate) struct Razorpay {
    key_secret: String,
    orders: Recent<Order>,
    payments: Recent<Payment>,
    refunds: Recent<Refund>,
    disputes: Recent<Dispute>,
    refund_keys: Recent<RefundKey>,
    /// Keys of refund requests that are being worked on at this moment.
    pub(crate) refunding: HashSet<String>,
    events: Vec<Event>,
    /// Authorisations that go back unless they are captured in time.
    lapsing: Vec<Lapse>,
    /// So many of the next refunds cannot be made.
    failing_refunds: u32,
}

/// An authorised payment, and when it goes back: so many minutes after it was begun.
#[derive(Debug)]
pub(crate) struct Lapse {
    pub(crate) payment_id: String,
    pub(crate) begun: Instant,
    pub(crate) minutes: u32,
}

type Result<T, E = Refusal> = std::result::Result<T, E>;

impl Razorpay {
    pub(crate) fn new(key_secret: &str) -> Self {
        Self {
            key_secret: key_secret.to_owned(),
            orders: Recent::new(LIMIT),
            payments: Recent::new(LIMIT),
            refunds: Recent::new(LIMIT),
            disputes: Recent::new(LIMIT),
            refund_keys: Recent::new(LIMIT),
            refunding: HashSet::new(),
            events: Vec::new(),
            lapsing: Vec::new(),
            failing_refunds: 0,
        }
    }

    /// What happened since the last call.
    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Authorisations since the last call.
    pub(crate) fn take_lapsing(&mut self) -> Vec<Lapse> {
        std::mem::take(&mut self.lapsing)
    }

    pub(crate) fn orders(&self) -> Vec<Order> {
        self.orders.iter().cloned().collect()
    }

    pub(crate) fn payments(&self) -> Vec<Payment> {
        self.payments.iter().cloned().collect()
    }

    pub(crate) fn refunds(&self) -> Vec<Refund> {
        self.refunds.iter().cloned().collect()
    }

    pub(crate) fn order(&self, id: &str) -> Result<Order> {
        self.orders.get(id).cloned().ok_or_else(Refusal::unknown_id)
    }

    pub(crate) fn payment(&self, id: &str) -> Result<Payment> {
        self.payments.get(id).cloned().ok_or_else(Refusal::unknown_id)
    }

    pub(crate) fn refund_by_id(&self, id: &str) -> Result<Refund> {
        self.refunds.get(id).cloned().ok_or_else(Refusal::unknown_id)
    }

    /// Orders with this receipt (all without one), newest first.
    pub(crate) fn find_orders(&self, receipt: Option<&str>) -> Vec<Order> {
        let wanted = |order: &&Order| receipt.is_none() || order.receipt.as_deref() == receipt;
        self.orders.iter().rev().filter(wanted).cloned().collect()
    }

    /// Newest first.
    pub(crate) fn payments_of(&self, order_id: &str) -> Result<Vec<Payment>> {
        self.order(order_id)?;
        let of_order = |payment: &&Payment| payment.order_id == order_id;
        Ok(self.payments.iter().rev().filter(of_order).cloned().collect())
    }

    /// Newest first.
    pub(crate) fn refunds_of(&self, payment_id: &str) -> Result<Vec<Refund>> {
        self.payment(payment_id)?;
        let of_payment = |refund: &&Refund| refund.payment_id == payment_id;
        Ok(self.refunds.iter().rev().filter(of_payment).cloned().collect())
    }

    pub(crate) fn create_order(&mut self, body: &Value) -> Result<Order> {
        let amount = amount(body, "Order amount less than minimum amount allowed")?
            .ok_or_else(|| Refusal::invalid("amount", "The amount field is required."))?;
        if amount > MAXIMUM {
            return Err(Refusal::invalid("amount", "Amount exceeds maximum amount allowed."));
        }
        let currency = match body["currency"].as_str() {
            None => return Err(Refusal::invalid("currency", "The currency field is required.")),
            Some(currency) if CURRENCIES.contains(&currency) => currency.to_owned(),
            Some(_) => return Err(Refusal::invalid("currency", "Currency is not supported")),
        };
        let order = Order {
            id: format!("order_{}", random::alphanumeric(14)),
            entity: "order",
            amount,
            amount_paid: 0,
            amount_due: amount,
            currency,
            receipt: receipt(body)?,
            status: "created",
            attempts: 0,
            notes: notes(body)?,
            created_at: Utc::now().timestamp(),
            capture_minutes: capture_minutes(body)?,
        };
        self.orders.insert(&order.id, order.clone());
        Ok(order)
    }

    /// What the buyer does at the checkout, and the bank afterwards.
    ///
    /// An order that is already paid can be paid again: late authorisations do exactly that.
    pub(crate) fn pay(&mut self, pay: &Pay) -> Result<Paid> {
        let order = self.order(&pay.order_id)?;
        let mut payment = match &pay.payment_id {
            Some(id) => self.payment(id)?,
            None => Payment::new(&order, pay),
        };
        if payment.order_id != order.id || matches!(payment.status, "captured" | "refunded") {
            return Err(Refusal::bad_request(
                "The payment belongs to another order or is already captured",
            ));
        }
        let failed = pay.outcome == Outcome::Failed;
        payment.status = if failed { "failed" } else { "authorized" };
        payment.error_code = failed.then(|| "BAD_REQUEST_ERROR".to_owned());
        payment.error_description = failed.then(|| "Payment was declined by the bank".to_owned());
        self.payments.insert(&payment.id, payment.clone());
        if let Some(order) = self.orders.get_mut(&order.id) {
            order.attempts += u32::from(pay.payment_id.is_none());
            if order.status == "created" {
                order.status = "attempted";
            }
        }
        match pay.outcome {
            Outcome::Failed => self.tell("payment.failed", json!({"payment": {"entity": payment}})),
            Outcome::Authorized => {
                self.tell("payment.authorized", json!({"payment": {"entity": payment}}));
                if let Some(minutes) = order.capture_minutes {
                    let (payment_id, begun) = (payment.id.clone(), payment.begun);
                    self.lapsing.push(Lapse { payment_id, begun, minutes });
                }
            }
            Outcome::Captured => payment = self.settle(payment),
        }
        let proof = format!("{}|{}", order.id, payment.id);
        let order = self.order(&order.id)?;
        Ok(Paid { razorpay_signature: sign(&self.key_secret, proof.as_bytes()), payment, order })
    }

    pub(crate) fn capture(&mut self, payment_id: &str, body: &Value) -> Result<Payment> {
        let payment = self.payment(payment_id)?;
        match payment.status {
            "authorized" => {}
            "captured" | "refunded" => {
                return Err(Refusal::bad_request("This payment has already been captured"));
            }
            _ => {
                let description =
                    "Only payments which have been authorized and not yet captured can be captured";
                return Err(Refusal::bad_request(description));
            }
        }
        let amount = amount(body, "The amount must be atleast INR 1.00")?
            .ok_or_else(|| Refusal::invalid("amount", "The amount field is required."))?;
        if amount != payment.amount {
            let description = "Capture amount must be equal to the amount authorized";
            return Err(Refusal::invalid("amount", description));
        }
        if body["currency"].as_str().unwrap_or("INR") != payment.currency {
            let description = "Payment currency should be same as capture currency";
            return Err(Refusal::invalid("currency", description));
        }
        Ok(self.settle(payment))
    }

    /// The money has arrived.
    fn settle(&mut self, mut payment: Payment) -> Payment {
        payment.status = "captured";
        payment.captured = true;
        payment.fee = Some(payment.amount * 2 / 100);
        payment.tax = Some(payment.amount * 36 / 10_000);
        self.payments.insert(&payment.id, payment.clone());
        self.tell("payment.captured", json!({"payment": {"entity": payment}}));

        if let Some(order) = self.orders.get_mut(&payment.order_id)
            && order.status != "paid"
        {
            order.amount_paid += payment.amount;
            order.amount_due = (order.amount - order.amount_paid).max(0);
            if order.amount_due == 0 {
                order.status = "paid";
                let payload = json!({"payment": {"entity": payment}, "order": {"entity": order}});
                self.tell("order.paid", payload);
            }
        }
        payment
    }

    /// Creates a pending refund. The same key with the same request answers with the refund it made
    /// the first time; a refused request leaves no trace, so its key can be used again.
    pub(crate) fn refund(
        &mut self,
        payment_id: &str,
        key: Option<&str>,
        body: &Value,
    ) -> Result<Refund> {
        if let Some(known) = key.and_then(|key| self.refund_keys.get(key)) {
            if known.payment_id != payment_id || known.body != *body {
                return Err(Refusal::conflict(
                    "Different request body sent for the same X-Refund-Idempotency key",
                ));
            }
            return self.refund_by_id(&known.refund_id);
        }
        let payment = self.payment(payment_id)?;
        match payment.status {
            "captured" => {}
            "refunded" => {
                return Err(Refusal::bad_request("The payment has been fully refunded already"));
            }
            _ => {
                let description = "The payment status should be captured for action to be taken";
                return Err(Refusal::bad_request(description));
            }
        }
        let left = payment.amount - payment.amount_refunded;
        let amount = amount(body, "The amount must be atleast INR 1.00")?.unwrap_or(left);
        if amount > left {
            let description = "The total refund amount is greater than the refund payment amount";
            return Err(Refusal::invalid("amount", description));
        }
        let speed = body["speed"].as_str().unwrap_or("normal");
        if !matches!(speed, "normal" | "optimum") {
            return Err(Refusal::invalid("speed", "The selected speed is invalid."));
        }
        let refund = Refund {
            id: format!("rfnd_{}", random::alphanumeric(14)),
            entity: "refund",
            payment_id: payment_id.to_owned(),
            amount,
            currency: payment.currency.clone(),
            status: "pending",
            speed_requested: speed.to_owned(),
            speed_processed: "normal",
            receipt: receipt(body)?,
            notes: notes(body)?,
            acquirer_data: json!({"arn": null}),
            created_at: Utc::now().timestamp(),
        };
        self.refunds.insert(&refund.id, refund.clone());
        if let Some(key) = key {
            let (payment_id, refund_id) = (payment_id.to_owned(), refund.id.clone());
            self.refund_keys.insert(key, RefundKey { payment_id, body: body.clone(), refund_id });
        }
        if let Some(payment) = self.payments.get_mut(payment_id) {
            payment.amount_refunded += amount;
            let full = payment.amount_refunded == payment.amount;
            payment.refund_status = Some(if full { "full" } else { "partial" });
            payment.status = if full { "refunded" } else { "captured" };
        }
        self.tell_refund("refund.created", &refund);
        Ok(refund)
    }

    /// An authorisation that was not captured in time goes back by itself.
    pub(crate) fn lapse(&mut self, payment_id: &str) {
        let Some(payment) =
            self.payments.get_mut(payment_id).filter(|payment| payment.status == "authorized")
        else {
            return;
        };
        payment.status = "refunded";
        payment.amount_refunded = payment.amount;
        payment.refund_status = Some("full");
        let refund = Refund {
            id: format!("rfnd_{}", random::alphanumeric(14)),
            entity: "refund",
            payment_id: payment_id.to_owned(),
            amount: payment.amount,
            currency: payment.currency.clone(),
            status: "processed",
            speed_requested: "normal".to_owned(),
            speed_processed: "normal",
            receipt: None,
            notes: json!([]),
            acquirer_data: json!({"arn": null}),
            created_at: Utc::now().timestamp(),
        };
        self.refunds.insert(&refund.id, refund.clone());
        self.tell_refund("refund.processed", &refund);
    }

    /// The bank cannot make the next `times` refunds.
    pub(crate) fn fail_refunds(&mut self, times: u32) {
        self.failing_refunds = times;
    }

    /// The bank has carried out a refund, or could not.
    pub(crate) fn process_refund(&mut self, id: &str) {
        let fails = self.failing_refunds > 0;
        let Some(refund) = self.refunds.get_mut(id).filter(|refund| refund.status == "pending")
        else {
            return;
        };
        if fails {
            refund.status = "failed";
        } else {
            refund.status = "processed";
            refund.acquirer_data = json!({"arn": random::digits(23)});
        }
        let refund = refund.clone();
        if fails {
            self.failing_refunds -= 1;
            if let Some(payment) = self.payments.get_mut(&refund.payment_id) {
                payment.amount_refunded -= refund.amount;
                payment.refund_status = (payment.amount_refunded > 0).then_some("partial");
                payment.status = "captured";
            }
        }
        self.tell_refund(if fails { "refund.failed" } else { "refund.processed" }, &refund);
    }

    fn tell_refund(&mut self, name: &'static str, refund: &Refund) {
        let payment = self.payments.get(&refund.payment_id).cloned();
        self.tell(name, json!({"refund": {"entity": refund}, "payment": {"entity": payment}}));
    }

    fn tell(&mut self, name: &'static str, payload: Value) {
        self.events.push(Event { name, payload });
    }
}
