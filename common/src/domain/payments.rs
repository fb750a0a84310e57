//! Payments: orders, the webhook inbox, what a payment leads to, refunds, and the ledger (ARCHITECTURE.md, "nobody pays for nothing").
//!
//! Nothing here calls Razorpay; amounts and ids come from signed webhooks or from what the caller fetched, and every decision commits
//! together with its ledger rows and the jobs that follow from it.

use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::{
    after_commit::AfterCommit,
    booking_changes::{self, Held},
    ids::{BookingId, UserId},
    input::Input,
    money::Paise,
};
use crate::{
    error::{Error, Result},
    jobs::{
        self,
        payments::{ProcessWebhook, RefundPayment},
    },
};

/// The only currency that Nexus sells in.
pub const CURRENCY: &str = "INR";

/// A request for an order, every rule checked that needs no database.
#[derive(Debug)]
pub struct NewOrder {
    /// For which booking.
    pub booking: BookingId,
    /// What the client believes to be the total.
    pub amount: Paise,
}

impl NewOrder {
    /// Reads a request.
    pub fn parse(input: &Input) -> Result<Self> {
        if input.get("booking_id").is_none() {
            return Err(Error::invalid("Booking ID is required"));
        }
        let booking = input.id("booking_id").ok_or_else(|| Error::invalid("Invalid booking ID"))?;
        let amount = input
            .number("amount")
            .and_then(Paise::from_rupees)
            .filter(|amount| *amount > Paise::ZERO)
            .ok_or_else(|| Error::invalid("Valid amount is required"))?;
        match input.get("currency").map(Value::as_str) {
            None | Some(Some("")) => {}
            Some(Some(currency)) if currency.eq_ignore_ascii_case(CURRENCY) => {}
            Some(_) => return Err(Error::invalid("Currency must be INR")),
        }
        Ok(NewOrder { booking, amount })
    }
}

/// A booking that may be paid for.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Payable {
    pub booking: BookingId,
    pub reference: String,
    pub total: Paise,
    /// An order that was created before and can still be paid.
    pub open_order: Option<String>,
    pub prefill: Prefill,
}

/// What the checkout form fills in for the buyer.
#[derive(Debug, Serialize)]
#[allow(missing_docs)] // columns of `users`
pub struct Prefill {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
}

/// The booking, if `user` may pay for it now and the amount is its total.
pub async fn payable(conn: &mut PgConnection, user: UserId, wanted: &NewOrder) -> Result<Payable> {
    let row = sqlx::query!(
        r#"SELECT b.booking_reference, (b.total_amount * 100)::bigint AS "total!", b.status,
                  coalesce(b.expires_at <= now(), FALSE) AS "overdue!", u.name, u.email, u.phone,
                  (SELECT o.order_id FROM payment_orders o
                   WHERE o.booking_id = b.id AND o.amount_paise = (b.total_amount * 100)::bigint AND o.currency = $3
                   ORDER BY o.created_at DESC LIMIT 1) AS open_order
           FROM bookings b JOIN users u ON u.id = b.user_id WHERE b.id = $1 AND b.user_id = $2"#,
        wanted.booking.0,
        user.0,
        CURRENCY,
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::BookingNotPayable)?;
    if row.status == "expired" || (row.status == "pending" && row.overdue) {
        return Err(Error::BookingExpired);
    }
    if row.status != "pending" {
        return Err(Error::BookingNotPending(row.status));
    }
    let total = Paise::from_db(row.total);
    if total != wanted.amount {
        return Err(Error::AmountMismatch(total.to_string()));
    }
    Ok(Payable {
        booking: wanted.booking,
        reference: row.booking_reference,
        total,
        open_order: row.open_order,
        prefill: Prefill { name: row.name, email: row.email, contact: row.phone },
    })
}

/// Remembers an order that Razorpay has created.
pub async fn remember_order(
    conn: &mut PgConnection,
    booking: BookingId,
    order_id: &str,
    amount: Paise,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO payment_orders (order_id, booking_id, amount_paise, currency) VALUES ($1, $2, $3, $4)
         ON CONFLICT (order_id) DO NOTHING",
        order_id,
        booking.0,
        amount.get(),
        CURRENCY,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "UPDATE bookings SET payment_id = $2, payment_gateway = 'razorpay' WHERE id = $1 AND status = 'pending'",
        booking.0,
        order_id,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The booking behind a receipt, for orders whose creation we did not live to remember.
pub async fn adopt_order(
    conn: &mut PgConnection,
    order_id: &str,
    receipt: &str,
    amount_paise: i64,
    currency: &str,
) -> Result<bool> {
    let adopted = sqlx::query!(
        "INSERT INTO payment_orders (order_id, booking_id, amount_paise, currency)
         SELECT $1, id, $3, $4 FROM bookings WHERE booking_reference = $2 ON CONFLICT (order_id) DO NOTHING",
        order_id,
        receipt,
        amount_paise,
        currency,
    )
    .execute(conn)
    .await?;
    Ok(adopted.rows_affected() == 1)
}

/// Whether an order is one of ours.
pub async fn order_is_known(conn: &mut PgConnection, order_id: &str) -> Result<bool> {
    let known = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM payment_orders WHERE order_id = $1) AS "known!""#,
        order_id
    )
    .fetch_one(conn)
    .await?;
    Ok(known)
}

/// What `GET /payments/verify/:orderId` answers.
#[derive(Debug, Serialize)]
#[allow(missing_docs)] // CONTRACT.md, section 6
pub struct PaymentState {
    pub order_id: String,
    pub booking_id: BookingId,
    pub booking_reference: String,
    pub status: String,
    pub payment_status: String,
    pub is_confirmed: bool,
}

/// The state of the booking behind an order or payment id, for its owner.
pub async fn state(conn: &mut PgConnection, id: &str, user: UserId) -> Result<PaymentState> {
    let row = sqlx::query!(
        "SELECT b.id, b.booking_reference, b.status, b.payment_status FROM bookings b
         WHERE b.user_id = $2 AND b.id IN (
             SELECT booking_id FROM payment_orders WHERE order_id = $1
             UNION ALL SELECT booking_id FROM payments WHERE payment_id = $1
             UNION ALL SELECT id FROM bookings WHERE payment_id = $1)
         LIMIT 1",
        id,
        user.0,
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::OrderNotFound)?;
    Ok(PaymentState {
        order_id: id.to_owned(),
        booking_id: BookingId(row.id),
        booking_reference: row.booking_reference,
        is_confirmed: row.status == "confirmed",
        status: row.status,
        payment_status: row.payment_status,
    })
}

/// Stores a webhook and enqueues the job that acts on it. False when it was stored before.
pub async fn receive_webhook(
    conn: &mut PgConnection,
    event_id: Option<&str>,
    event_type: &str,
    body: &[u8],
) -> Result<bool> {
    let event_id = match event_id {
        Some(id) => id.to_owned(),
        None => {
            let digest = Sha256::digest(body);
            format!("sha256:{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
    };
    let stored = sqlx::query_scalar!(
        "INSERT INTO webhook_events (event_id, event_type, body) VALUES ($1, $2, $3)
         ON CONFLICT ON CONSTRAINT webhook_events_event_key DO NOTHING RETURNING id",
        event_id,
        event_type,
        body,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(webhook_event_id) = stored else { return Ok(false) };
    jobs::enqueue(conn, &ProcessWebhook { webhook_event_id }).await?;
    Ok(true)
}

/// The body of a stored webhook, unless it has been dealt with.
pub async fn open_webhook(conn: &mut PgConnection, id: i64) -> Result<Option<Vec<u8>>> {
    let body =
        sqlx::query_scalar!("SELECT body FROM webhook_events WHERE id = $1 AND processed_at IS NULL", id)
            .fetch_optional(conn)
            .await?;
    Ok(body)
}

/// Remembers what a webhook led to.
pub async fn close_webhook(conn: &mut PgConnection, id: i64, outcome: &str) -> Result<()> {
    sqlx::query!("UPDATE webhook_events SET processed_at = now(), outcome = $2 WHERE id = $1", id, outcome)
        .execute(conn)
        .await?;
    Ok(())
}

/// Money that has arrived.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // Razorpay's payment entity
pub struct Captured {
    pub payment_id: String,
    pub order_id: String,
    pub amount_paise: i64,
    pub currency: String,
}

/// What a captured payment led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The booking is confirmed.
    Confirmed,
    /// It goes back, because …
    Refunded(RefundReason),
    /// It had been settled before.
    Already,
}

/// Why money goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum RefundReason {
    AmountMismatch,
    AlreadyPaid,
    SeatsGone,
    EventOver,
    BookingGone,
    Cancelled,
}

impl RefundReason {
    /// As stored.
    pub fn name(self) -> &'static str {
        match self {
            RefundReason::AmountMismatch => "amount_mismatch",
            RefundReason::AlreadyPaid => "already_paid",
            RefundReason::SeatsGone => "seats_gone",
            RefundReason::EventOver => "event_over",
            RefundReason::BookingGone => "booking_gone",
            RefundReason::Cancelled => "cancelled",
        }
    }
}

/// Turns captured money into a confirmed booking, or owes it back. Whatever the webhooks say, and however often: once per payment.
pub async fn settle(conn: &mut PgConnection, money: &Captured, after: &mut AfterCommit) -> Result<Settled> {
    let order = sqlx::query!(
        "SELECT booking_id, amount_paise, currency FROM payment_orders WHERE order_id = $1",
        money.order_id
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or(Error::OrderNotFound)?;
    let id = BookingId(order.booking_id);
    // The inventory comes first, so that two payments of one booking queue up here rather than at the ledger.
    let booking = booking_changes::hold(conn, id).await?;
    if !record(conn, Movement::Capture, Some(id), money).await? {
        return Ok(Settled::Already);
    }
    let as_ordered = money.amount_paise == order.amount_paise && money.currency == order.currency;
    let refusal = match &booking {
        None => Some(RefundReason::BookingGone),
        Some(booking) if !as_ordered || money.amount_paise != booking.total.get() => {
            Some(RefundReason::AmountMismatch)
        }
        Some(booking) if booking.status == "confirmed" => Some(RefundReason::AlreadyPaid),
        Some(booking) if !booking.event_on_sale => Some(RefundReason::EventOver),
        Some(booking) if booking.event_started && (booking.overdue || booking.status != "pending") => {
            Some(RefundReason::EventOver)
        }
        // A booking is sold once; after a sale and its cancellation, money goes back.
        Some(_) if has_sale(conn, id).await? => Some(RefundReason::Cancelled),
        Some(booking) => {
            if booking_changes::confirm(conn, booking, Some(&money.payment_id), after).await? {
                None
            } else {
                booking_changes::expire(conn, id, after).await?;
                Some(RefundReason::SeatsGone)
            }
        }
    };
    match refusal {
        None => {
            record(conn, Movement::Sale, Some(id), money).await?;
            Ok(Settled::Confirmed)
        }
        Some(reason) => {
            owe_refund(conn, money, Some(id), reason).await?;
            Ok(Settled::Refunded(reason))
        }
    }
}

async fn has_sale(conn: &mut PgConnection, id: BookingId) -> Result<bool> {
    let sold = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM payments WHERE booking_id = $1 AND kind = 'sale') AS "sold!""#,
        id.0
    )
    .fetch_one(conn)
    .await?;
    Ok(sold)
}

/// A payment attempt failed. The buyer may try again on the same order until the booking's deadline.
pub async fn note_failure(conn: &mut PgConnection, order_id: &str) -> Result<()> {
    sqlx::query!(
        "UPDATE bookings SET payment_status = 'failed'
         WHERE id = (SELECT booking_id FROM payment_orders WHERE order_id = $1) AND status = 'pending' AND payment_status = 'pending'",
        order_id,
    )
    .execute(conn)
    .await?;
    Ok(())
}

#[derive(Clone, Copy)]
enum Movement {
    Capture,
    Sale,
    SaleReversal,
    Refund,
}

/// Adds a row to the ledger; false when this payment has moved so before.
async fn record(
    conn: &mut PgConnection,
    movement: Movement,
    booking: Option<BookingId>,
    money: &Captured,
) -> Result<bool> {
    let (kind, sign) = match movement {
        Movement::Capture => ("capture", 1),
        Movement::Sale => ("sale", -1),
        Movement::SaleReversal => ("sale_reversal", 1),
        Movement::Refund => ("refund", -1),
    };
    let recorded = sqlx::query!(
        "INSERT INTO payments (kind, booking_id, order_id, payment_id, amount_paise, currency) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT ON CONSTRAINT payments_movement_key DO NOTHING",
        kind,
        booking.map(|id| id.0),
        money.order_id,
        money.payment_id,
        money.amount_paise * sign,
        money.currency,
    )
    .execute(conn)
    .await?;
    Ok(recorded.rows_affected() == 1)
}

/// Takes back the sale of a confirmed booking that is being cancelled, and owes its money. A booking that cost nothing owes nothing.
pub async fn reverse_sale(conn: &mut PgConnection, booking: &Held) -> Result<()> {
    let sale = sqlx::query!(
        r#"SELECT payment_id, coalesce(order_id, '') AS "order_id!", amount_paise, currency FROM payments
           WHERE booking_id = $1 AND kind = 'sale'"#,
        booking.id.0,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let money = match (sale, &booking.payment_id) {
        (Some(sale), _) => Captured {
            payment_id: sale.payment_id,
            order_id: sale.order_id,
            amount_paise: -sale.amount_paise,
            currency: sale.currency,
        },
        // Confirmed by the Node service, which kept no ledger: both sides of its payment are written now.
        (None, Some(payment_id)) if payment_id.starts_with("pay_") && booking.total > Paise::ZERO => {
            let money = Captured {
                payment_id: payment_id.clone(),
                order_id: String::new(),
                amount_paise: booking.total.get(),
                currency: CURRENCY.into(),
            };
            record(conn, Movement::Capture, Some(booking.id), &money).await?;
            record(conn, Movement::Sale, Some(booking.id), &money).await?;
            money
        }
        (None, _) => return Ok(()),
    };
    record(conn, Movement::SaleReversal, Some(booking.id), &money).await?;
    owe_refund(conn, &money, Some(booking.id), RefundReason::Cancelled).await
}

async fn owe_refund(
    conn: &mut PgConnection,
    money: &Captured,
    booking: Option<BookingId>,
    reason: RefundReason,
) -> Result<()> {
    let refund_id = sqlx::query_scalar!(
        "INSERT INTO refunds (payment_id, booking_id, amount_paise, currency, reason) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT ON CONSTRAINT refunds_payment_key DO NOTHING RETURNING id",
        money.payment_id,
        booking.map(|id| id.0),
        money.amount_paise,
        money.currency,
        reason.name(),
    )
    .fetch_optional(&mut *conn)
    .await?;
    if let Some(refund_id) = refund_id {
        jobs::enqueue(conn, &RefundPayment { refund_id }).await?;
    }
    Ok(())
}

/// A refund that we owe.
#[derive(Debug)]
#[allow(missing_docs)] // columns of `refunds`
pub struct Refund {
    pub payment_id: String,
    pub booking: Option<BookingId>,
    pub amount_paise: i64,
    pub reason: String,
    pub status: String,
}

/// A refund by its row id.
pub async fn refund(conn: &mut PgConnection, id: i64) -> Result<Option<Refund>> {
    let row = sqlx::query!(
        "SELECT payment_id, booking_id, amount_paise, reason, status FROM refunds WHERE id = $1",
        id
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Refund {
        payment_id: row.payment_id,
        booking: row.booking_id.map(BookingId),
        amount_paise: row.amount_paise,
        reason: row.reason,
        status: row.status,
    }))
}

/// What Razorpay says of a refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum RefundStatus {
    Requested,
    Processed,
    Failed,
}

/// Follows a refund of `payment_id`: once processed it is in the ledger, and a cancelled booking says `refunded`. A refund that somebody made
/// by hand is recorded, too.
pub async fn follow_refund(
    conn: &mut PgConnection,
    payment_id: &str,
    refund_id: &str,
    status: RefundStatus,
) -> Result<()> {
    let status_name = match status {
        RefundStatus::Requested => "requested",
        RefundStatus::Processed => "processed",
        RefundStatus::Failed => "failed",
    };
    // Webhooks come in any order: what is processed stays so.
    let row = sqlx::query!(
        "UPDATE refunds SET status = $3, refund_id = coalesce(refund_id, $2), updated_at = now()
         WHERE payment_id = $1 AND status <> 'processed' AND NOT (status = 'failed' AND $3 = 'requested')
         RETURNING booking_id, amount_paise, currency",
        payment_id,
        refund_id,
        status_name,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(()) };
    if status != RefundStatus::Processed {
        return Ok(());
    }
    let money = Captured {
        payment_id: payment_id.to_owned(),
        order_id: String::new(),
        amount_paise: row.amount_paise,
        currency: row.currency,
    };
    record(conn, Movement::Refund, row.booking_id.map(BookingId), &money).await?;
    sqlx::query!(
        "UPDATE bookings SET payment_status = 'refunded'
         WHERE id = $1 AND status IN ('cancelled', 'expired')",
        row.booking_id,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The parts of a webhook that its handler looks at.
#[derive(Debug)]
pub struct Webhook {
    /// `payment.captured` and the like.
    pub event: String,
    payload: Value,
}

impl Webhook {
    /// Reads a webhook's body; `None` when it is no JSON object.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut body: Value = serde_json::from_slice(body).ok()?;
        let event = body.as_object()?.get("event").and_then(Value::as_str).unwrap_or("unknown").to_owned();
        Some(Webhook { event, payload: body["payload"].take() })
    }

    /// The entity of that name, wrapped in `entity` as Razorpay sends it, or bare.
    pub fn entity(&self, name: &str) -> Option<&Value> {
        let wrapper = self.payload.get(name)?;
        Some(wrapper.get("entity").unwrap_or(wrapper)).filter(|entity| entity.is_object())
    }

    /// The payment that the webhook is about, if it names its order and amount.
    pub fn payment(&self) -> Option<Captured> {
        let entity = self.entity("payment")?;
        let text = |field: &str| entity.get(field).and_then(Value::as_str).map(str::to_owned);
        Some(Captured {
            payment_id: text("id")?,
            order_id: text("order_id")?,
            amount_paise: entity.get("amount")?.as_i64().filter(|amount| *amount > 0)?,
            currency: text("currency").unwrap_or_else(|| CURRENCY.into()),
        })
    }
}

/// The checkout options of an order (CONTRACT.md, section 6).
pub fn checkout(payable: &Payable, order_id: &str, key_id: &str) -> Value {
    json!({
        "order_id": order_id,
        "amount": payable.total.get(),
        "currency": CURRENCY,
        "receipt": payable.reference,
        "status": "created",
        "key_id": key_id,
        "checkout_options": {
            "key": key_id,
            "amount": payable.total.get(),
            "currency": CURRENCY,
            "name": "Event Booking",
            "description": format!("Booking: {}", payable.reference),
            "order_id": order_id,
            "prefill": payable.prefill,
            "theme": { "color": "#3399cc" },
        },
    })
}
