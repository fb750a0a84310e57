//! Razorpay as far as histories need it: orders, payments, refunds, and the webhooks that it would
//! send, which wait until they are delivered.

use std::collections::HashMap;

use serde_json::{Value, json};

/// How a payment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Captured,
    Authorized,
    Failed,
}

/// What is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Amount {
    Right,
    Wrong,
    ForeignCurrency,
}

#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) id: String,
    pub(crate) paise: i64,
}

#[derive(Clone, Debug)]
pub(crate) struct Payment {
    pub(crate) id: String,
    order: String,
    paise: i64,
    currency: &'static str,
    status: &'static str,
    /// What has gone back of it, or is on its way.
    back: i64,
    /// What its bank asks back, or has got.
    disputed: i64,
}

#[derive(Clone, Debug)]
pub(crate) struct Dispute {
    id: String,
    payment: usize,
    paise: i64,
    deducted: i64,
    status: &'static str,
}

#[derive(Clone, Debug)]
pub(crate) struct Refund {
    pub(crate) id: String,
    pub(crate) payment: String,
    pub(crate) paise: i64,
    pub(crate) status: &'static str,
    /// The key of a refund of ours.
    pub(crate) receipt: Option<String>,
}

#[derive(Default)]
pub(crate) struct Razorpay {
    /// Makes ids unique over all histories.
    pub(crate) name: String,
    pub(crate) orders: Vec<Order>,
    pub(crate) payments: Vec<Payment>,
    pub(crate) refunds: Vec<Refund>,
    pub(crate) disputes: Vec<Dispute>,
    pub(crate) keys: HashMap<String, usize>,
    /// Webhooks that have not been delivered.
    pub(crate) waiting: Vec<Value>,
    /// Webhooks that have.
    pub(crate) delivered: Vec<Value>,
}

impl Razorpay {
    pub(crate) fn create_order(&mut self, paise: i64) -> String {
        let id = format!("order_{}n{}", self.name, self.orders.len());
        self.orders.push(Order { id: id.clone(), paise });
        id
    }

    pub(crate) fn pay(&mut self, order: usize, outcome: Outcome, amount: Amount) {
        let order = &self.orders[order];
        let payment = Payment {
            id: format!("pay_{}n{}", self.name, self.payments.len()),
            order: order.id.clone(),
            paise: order.paise + i64::from(amount == Amount::Wrong),
            currency: if amount == Amount::ForeignCurrency { "USD" } else { "INR" },
            status: "created",
            back: 0,
            disputed: 0,
        };
        self.payments.push(payment);
        self.attempt(self.payments.len() - 1, outcome);
    }

    /// The bank decides, or decides anew.
    pub(crate) fn attempt(&mut self, payment: usize, outcome: Outcome) {
        if !matches!(self.payments[payment].status, "created" | "failed" | "authorized") {
            return;
        }
        match outcome {
            Outcome::Captured => {
                self.tell_payment(payment, "authorized", "payment.authorized");
                self.settle(payment);
            }
            Outcome::Authorized => self.tell_payment(payment, "authorized", "payment.authorized"),
            // What is authorized does not fail any more.
            Outcome::Failed if self.payments[payment].status == "authorized" => {}
            Outcome::Failed => self.tell_payment(payment, "failed", "payment.failed"),
        }
    }

    /// `POST /v1/payments/:id/capture`; whether the payment is captured now.
    pub(crate) fn capture(&mut self, id: &str) -> bool {
        let Some(payment) = self.payments.iter().position(|payment| payment.id == id) else {
            return false;
        };
        if self.payments[payment].status == "authorized" {
            self.settle(payment);
        }
        self.payments[payment].status == "captured"
    }

    fn settle(&mut self, payment: usize) {
        self.tell_payment(payment, "captured", "payment.captured");
        self.tell_payment(payment, "captured", "order.paid");
    }

    pub(crate) fn lapse(&mut self, payment: usize) {
        if self.payments[payment].status == "authorized" {
            self.payments[payment].status = "lapsed";
            let paise = self.payments[payment].paise;
            let refund = self.make_refund(payment, paise, None);
            self.end_refund(refund, true);
        }
    }

    /// Somebody asks for a refund of the payment at Razorpay, or of a part of it.
    pub(crate) fn refund_by_hand(&mut self, payment: usize, part: bool) {
        let left = self.left(payment);
        let status = self.payments[payment].status;
        if status == "captured" && left > 1 {
            let refund = self.make_refund(payment, if part { left / 3 } else { left }, None);
            self.tell_refund(refund, "refund.created");
        }
    }

    /// `POST /v1/payments/:id/refund`: a key that is known answers with the refund that it stands
    /// for. More than is left is refused.
    pub(crate) fn refund(&mut self, payment_id: &str, paise: i64, key: &str) -> Option<Refund> {
        if let Some(known) = self.keys.get(key) {
            assert_eq!(self.refunds[*known].paise, paise, "a key stands for one request");
            return Some(self.refunds[*known].clone());
        }
        assert!((10..=40).contains(&key.len()), "{key}");
        let payment =
            self.payments.iter().position(|payment| payment.id == payment_id).expect("a payment");
        assert_eq!(self.payments[payment].status, "captured", "only captured money is refunded");
        if paise > self.left(payment) {
            return None;
        }
        let refund = self.make_refund(payment, paise, Some(key.to_owned()));
        self.tell_refund(refund, "refund.created");
        self.keys.insert(key.to_owned(), refund);
        Some(self.refunds[refund].clone())
    }

    fn make_refund(&mut self, payment: usize, paise: i64, receipt: Option<String>) -> usize {
        self.payments[payment].back += paise;
        let id = format!("rfnd_{}n{}", self.name, self.refunds.len());
        let payment = self.payments[payment].id.clone();
        self.refunds.push(Refund { id, payment, paise, status: "pending", receipt });
        self.refunds.len() - 1
    }

    pub(crate) fn end_refund(&mut self, refund: usize, succeeds: bool) {
        if self.refunds[refund].status != "pending" {
            return;
        }
        self.refunds[refund].status = if succeeds { "processed" } else { "failed" };
        if !succeeds {
            let payment = self.payment_of(refund);
            self.payments[payment].back -= self.refunds[refund].paise;
        }
        self.tell_refund(refund, if succeeds { "refund.processed" } else { "refund.failed" });
    }

    fn payment_of(&self, refund: usize) -> usize {
        let id = &self.refunds[refund].payment;
        self.payments.iter().position(|payment| payment.id == *id).expect("its payment")
    }

    /// Paise that have come and not gone back.
    pub(crate) fn kept(&self) -> i64 {
        let captured = self.payments.iter().filter(|payment| payment.status == "captured");
        captured.map(|payment| payment.paise - payment.back - payment.disputed).sum()
    }

    /// What can be refunded, or disputed.
    fn left(&self, payment: usize) -> i64 {
        let Payment { paise, back, disputed, .. } = self.payments[payment];
        paise - back - disputed
    }

    /// The buyer's bank asks for the payment back, or for a part, and may take it at once. The
    /// capture may be heard of after that.
    pub(crate) fn open_dispute(&mut self, payment: usize, part: bool, deduct: bool) {
        let left = self.left(payment);
        if self.payments[payment].status != "captured" || left <= 1 {
            return;
        }
        let paise = if part { left / 3 } else { left };
        self.payments[payment].disputed += paise;
        let id = format!("disp_{}n{}", self.name, self.disputes.len());
        let deducted = if deduct { paise } else { 0 };
        self.disputes.push(Dispute { id, payment, paise, deducted, status: "open" });
        self.tell_dispute(self.disputes.len() - 1, "payment.dispute.created");
    }

    pub(crate) fn end_dispute(&mut self, dispute: usize, won: bool) {
        let Dispute { payment, paise, status, .. } = self.disputes[dispute];
        if status != "open" {
            return;
        }
        if won {
            self.payments[payment].disputed -= paise;
        }
        self.disputes[dispute].status = if won { "won" } else { "lost" };
        self.disputes[dispute].deducted = if won { 0 } else { paise };
        self.tell_dispute(
            dispute,
            if won { "payment.dispute.won" } else { "payment.dispute.lost" },
        );
    }

    fn tell_dispute(&mut self, dispute: usize, event: &str) {
        let Dispute { id, payment, paise, deducted, status } = &self.disputes[dispute];
        let dispute = json!({"id": id, "payment_id": self.payments[*payment].id, "amount": paise,
            "currency": self.payments[*payment].currency, "amount_deducted": deducted, "status": status});
        let entity = self.entity(*payment);
        self.waiting.push(
            json!({"event": event, "payload": {"dispute": {"entity": dispute}, "payment": {"entity": entity}}}),
        );
    }

    fn tell_payment(&mut self, payment: usize, status: &'static str, event: &str) {
        self.payments[payment].status = status;
        let entity = self.entity(payment);
        self.waiting.push(json!({"event": event, "payload": {"payment": {"entity": entity}}}));
    }

    fn tell_refund(&mut self, refund: usize, event: &str) {
        let payment = self.payment_of(refund);
        let Refund { id, payment: payment_id, paise, receipt, .. } = &self.refunds[refund];
        let currency = self.payments[payment].currency;
        let refund = json!({"id": id, "payment_id": payment_id, "amount": paise, "currency": currency, "receipt": receipt});
        let entity = self.entity(payment);
        self.waiting.push(
            json!({"event": event, "payload": {"refund": {"entity": refund}, "payment": {"entity": entity}}}),
        );
    }

    fn entity(&self, payment: usize) -> Value {
        let payment = &self.payments[payment];
        json!({"id": payment.id, "order_id": payment.order, "amount": payment.paise, "currency": payment.currency, "status": payment.status})
    }
}
