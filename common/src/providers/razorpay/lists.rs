//! Razorpay's lists, in which the reconciler finds what no webhook told us.

use serde::{Deserialize, de::DeserializeOwned};

use super::{CallError, Dispute, Payment, Razorpay, Refund, path_segment};

/// The most entries on one of Razorpay's pages.
pub const PAGE: usize = 100;

/// A span of creation times, in seconds since 1970, both ends included.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    pub from: i64,
    pub to: i64,
}

#[derive(Deserialize)]
struct Collection<T> {
    items: Vec<T>,
}

impl Razorpay {
    /// Every attempted payment of an order.
    pub async fn payments_of_order(&self, order_id: &str) -> Result<Vec<Payment>, CallError> {
        let path = format!("/v1/orders/{}/payments", path_segment(order_id));
        Ok(self.get::<Collection<_>>(&path).await?.items)
    }

    /// Every refund of a payment.
    pub async fn refunds_of_payment(&self, payment_id: &str) -> Result<Vec<Refund>, CallError> {
        let path = format!("/v1/payments/{}/refunds?count={PAGE}", path_segment(payment_id));
        Ok(self.get::<Collection<_>>(&path).await?.items)
    }

    /// Payments of a span, newest first, from the `skip`-th on. A page that is not full is the
    /// last.
    pub async fn payments(&self, span: Span, skip: usize) -> Result<Vec<Payment>, CallError> {
        self.page("payments", span, skip).await
    }

    /// Refunds of a span, likewise.
    pub async fn refunds(&self, span: Span, skip: usize) -> Result<Vec<Refund>, CallError> {
        self.page("refunds", span, skip).await
    }

    /// Disputes of a span, likewise.
    pub async fn disputes(&self, span: Span, skip: usize) -> Result<Vec<Dispute>, CallError> {
        self.page("disputes", span, skip).await
    }

    async fn page<T: DeserializeOwned>(
        &self,
        what: &str,
        Span { from, to }: Span,
        skip: usize,
    ) -> Result<Vec<T>, CallError> {
        let path = format!("/v1/{what}?from={from}&to={to}&count={PAGE}&skip={skip}");
        Ok(self.get::<Collection<_>>(&path).await?.items)
    }
}
