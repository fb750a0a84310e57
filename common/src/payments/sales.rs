//! Ordinary sales, many in one transaction: captured payments, as they were ordered, of bookings
//! that wait for them and have all their seats. Whatever is not ordinary is left to
//! [`webhook_actions`](super::webhook_actions), one by one.
//!
//! A sale is decided by the same tables as there, and holds the same locks; but it waits for none:
//! what another transaction has is not ordinary.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::{
    settlement,
    webhooks::{self, Webhook, WebhookEvent},
};
use crate::{
    bookings::{
        booking_states::{self, BookingState, BookingStep},
        changes::LockedBooking,
        sale::{self, Ordered, Paid},
    },
    error::{Error, Result},
    jobs::lifecycle::{self, Lease},
    ledger::{
        entries::{self, ProviderPayment},
        payment_states::{self, PaymentEvent, PaymentState, PaymentStep},
    },
    realtime::AfterCommit,
    types::ids::WebhookId,
};

/// A webhook that is to be acted on.
#[derive(Clone, Debug)]
pub struct Received {
    pub webhook: WebhookId,
    /// The job that acts on it.
    pub lease: Lease,
    /// Its trace context.
    pub trace: Option<String>,
}

/// A webhook that tells of a payment.
struct News<'a> {
    received: &'a Received,
    event: PaymentEvent,
    money: ProviderPayment,
}

/// Makes those sales that are ordinary, and closes the webhooks of those that were settled before,
/// each together with its job. Returns what follows from each, in order; `None` if it was not dealt
/// with.
pub async fn make(
    conn: &mut PgConnection,
    received: &[Received],
) -> Result<Vec<Option<AfterCommit>>> {
    let news = news(conn, received).await?;
    let captured: Vec<(&str, &str)> = news
        .iter()
        .filter(|news| news.event == PaymentEvent::Captured)
        .map(|news| (news.money.order_id.as_str(), news.money.payment_id.as_str()))
        .collect();
    let waiting = sale::lock_waiting(conn, &captured).await?;
    let mut waiting: HashMap<String, Ordered> =
        waiting.into_iter().map(|ordered| (ordered.order_id.clone(), ordered)).collect();
    let payments: Vec<&str> = news.iter().map(|news| news.money.payment_id.as_str()).collect();
    let states = entries::untouched_states(conn, &payments).await?;

    let mut sold: Vec<(&News<'_>, LockedBooking)> = Vec::new();
    let mut settled: Vec<&News<'_>> = Vec::new();
    for (news, state) in news.iter().zip(states) {
        let Some(state) = state else { continue };
        // Razorpay tells of a payment twice, at the same time.
        let is_sold = sold.iter().any(|(first, _)| first.money.payment_id == news.money.payment_id);
        let state = if is_sold { PaymentState::Sold } else { state };
        match payment_states::next(state, news.event) {
            PaymentStep::Settle => {
                let ordered = waiting.remove(&news.money.order_id);
                sold.extend(
                    ordered.filter(|one| is_ordinary(one, news)).map(|one| (news, one.booking)),
                );
            }
            PaymentStep::Capture | PaymentStep::SettleReturned | PaymentStep::NoteFailure => {}
            _ => settled.push(news),
        }
    }

    if sold.is_empty() && settled.is_empty() {
        return Ok(received.iter().map(|_| None).collect());
    }
    let decided = sold.iter().map(|(news, _)| *news).chain(settled.iter().copied());
    let leases: Vec<Lease> = decided.map(|news| news.received.lease.clone()).collect();
    if lifecycle::complete_all(conn, &leases).await?.len() < leases.len() {
        return Err(Error::Collision("another worker has one of the jobs".into()));
    }

    let paid: Vec<Paid<'_>> = sold
        .iter()
        .map(|(news, booking)| Paid {
            booking,
            payment_id: &news.money.payment_id,
            trace: news.received.trace.clone(),
        })
        .collect();
    let following = sale::confirm_all(conn, &paid).await?;
    let entries: Vec<_> = sold.iter().map(|(news, booking)| (booking.id, &news.money)).collect();
    entries::record_sales(conn, &entries).await?;
    let outcomes: Vec<(WebhookId, &str)> = sold
        .iter()
        .map(|(news, _)| (news.received.webhook, "confirmed"))
        .chain(settled.iter().map(|news| (news.received.webhook, "settled_before")))
        .collect();
    webhooks::close_all(conn, &outcomes).await?;

    let nothing = settled.iter().map(|_| AfterCommit::default());
    let mut closed: HashMap<WebhookId, AfterCommit> = outcomes
        .iter()
        .map(|(webhook, _)| *webhook)
        .zip(following.into_iter().chain(nothing))
        .collect();
    Ok(received.iter().map(|received| closed.remove(&received.webhook)).collect())
}

/// The webhooks that tell of payments.
async fn news<'a>(conn: &mut PgConnection, received: &'a [Received]) -> Result<Vec<News<'a>>> {
    let ids: Vec<WebhookId> = received.iter().map(|received| received.webhook).collect();
    let mut bodies = webhooks::open_all(conn, &ids).await?;
    let news = received.iter().filter_map(|received| {
        match Webhook::parse(&bodies.remove(&received.webhook)?)?.event() {
            WebhookEvent::Payment(event, money) => Some(News { received, event, money }),
            _ => None,
        }
    });
    Ok(news.collect())
}

/// Whether captured money becomes a sale with nothing to repair first.
fn is_ordinary(ordered: &Ordered, news: &News<'_>) -> bool {
    let as_ordered =
        settlement::is_as_ordered(&news.money, ordered.amount_paise, &ordered.currency);
    let event = settlement::event_of(Some(&ordered.booking), as_ordered, &news.money);
    let state = ordered.booking.state();
    state == BookingState::Pending && booking_states::next(state, event) == BookingStep::Confirm
}
