//! Disputes: a buyer's bank asks for a payment back. It may take the money at once, and keeps it if
//! the dispute is lost. Razorpay reports disputes by webhook, and the reconciler asks about them;
//! both end up here.
//!
//! The ledger has only what the bank has taken. What it has taken for good counts as gone back: we
//! no longer owe it, and a booking whose whole payment has gone is cancelled, as after a manual
//! refund.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::provider_refunds::{cancel_paid_back, lock_booking};
use crate::{
    bookings::changes::LockedBooking,
    error::Result,
    ledger::{
        alerts,
        entries::{LedgerEntry, ProviderPayment, lock_payment, record_source},
        payment_states::PaymentState,
        refunds,
    },
    providers::razorpay,
    realtime::AfterCommit,
    types::{
        alert_reason::AlertReason, ids::BookingId, money::written, refund_reason::RefundReason,
        text_enum::text_enum,
    },
};

text_enum! {
    /// The state of a dispute, in Razorpay's words.
    pub enum DisputeStatus {
        Open = "open",
        ActionRequired = "action_required",
        UnderReview = "under_review",
        Won = "won",
        Lost = "lost",
        Closed = "closed",
    }
}

impl DisputeStatus {
    /// Reads Razorpay's word; one that Razorpay has invented since does not count as the end.
    pub fn of(status: &str) -> Self {
        status.parse().unwrap_or(DisputeStatus::Open)
    }

    /// A dispute's stage only grows, because webhooks come in any order.
    fn stage(self) -> i16 {
        match self {
            DisputeStatus::Open => 0,
            DisputeStatus::ActionRequired => 1,
            DisputeStatus::UnderReview => 2,
            DisputeStatus::Won | DisputeStatus::Lost | DisputeStatus::Closed => DECIDED,
        }
    }
}

/// The stage of a dispute that has ended.
const DECIDED: i16 = 3;

/// A dispute as Razorpay tells of it.
#[derive(Debug)]
pub struct Dispute {
    pub id: String,
    pub payment_id: String,
    pub amount_paise: i64,
    pub currency: String,
    /// What Razorpay has taken from our balance: in most cases 0 until the dispute is lost.
    pub deducted_paise: i64,
    pub phase: String,
    pub reason_code: String,
    pub status: DisputeStatus,
    pub respond_by: Option<DateTime<Utc>>,
    /// The payment, if Razorpay tells of it, too: its capture may not have reached us yet.
    pub payment: Option<ProviderPayment>,
}

impl Dispute {
    /// Reads Razorpay's dispute; `None` when it is about no money.
    pub fn of(theirs: &razorpay::Dispute) -> Option<Self> {
        Some(Dispute {
            id: theirs.id.clone(),
            payment_id: theirs.payment_id.clone(),
            amount_paise: Some(theirs.amount).filter(|amount| *amount > 0)?,
            currency: theirs.currency.clone(),
            deducted_paise: theirs.amount_deducted.unwrap_or(0),
            phase: theirs.phase.clone().unwrap_or_else(|| "dispute".into()),
            reason_code: theirs.reason_code.clone().unwrap_or_else(|| "unknown".into()),
            status: DisputeStatus::of(&theirs.status),
            respond_by: theirs.respond_by.and_then(|at| DateTime::from_timestamp(at, 0)),
            payment: None,
        })
    }

    /// What the bank has taken by this dispute, as things stand.
    pub fn taken(&self) -> i64 {
        match self.status {
            DisputeStatus::Won => 0,
            DisputeStatus::Lost if self.deducted_paise == 0 => self.amount_paise,
            _ => self.deducted_paise.clamp(0, self.amount_paise),
        }
    }

    fn is_decided(&self) -> bool {
        self.status.stage() == DECIDED
    }
}

/// Follows a dispute about one of our payments; false when nothing about it is new.
pub async fn follow(
    conn: &mut PgConnection,
    dispute: &Dispute,
    after: &mut AfterCommit,
) -> Result<bool> {
    let payment_id = &dispute.payment_id;
    let mut booking = lock_booking(conn, payment_id).await?;
    let state = lock_payment(conn, payment_id).await?;
    if booking.is_none() && state == PaymentState::Sold {
        // The payment was sold between these two statements.
        booking = lock_booking(conn, payment_id).await?;
    }
    let captured = captured(conn, dispute).await?;
    // Also for a booking that was deleted with its event.
    let of = captured
        .as_ref()
        .and_then(|captured| captured.1)
        .or(booking.as_ref().map(|booking| booking.id));
    let captured = captured.map(|captured| captured.0);
    if !remember(conn, dispute).await? {
        // A dispute may ask for action again after a review, and has a deadline for the answer.
        if dispute.status == DisputeStatus::ActionRequired && !is_decided(conn, &dispute.id).await?
        {
            alert_open(conn, dispute, of).await?;
        }
        return Ok(false);
    }
    if !dispute.is_decided() {
        alert_open(conn, dispute, of).await?;
    }
    if let Some(captured) = &captured {
        write_ledger(conn, dispute, of, captured).await?;
    }
    if dispute.is_decided() {
        decide(conn, dispute, state, captured.as_ref(), of, booking.as_ref(), after).await?;
    }
    Ok(true)
}

/// Records a dispute's stage; false when it had come as far before.
async fn remember(conn: &mut PgConnection, dispute: &Dispute) -> Result<bool> {
    let remembered = sqlx::query!(
        "INSERT INTO disputes AS known (dispute_id, payment_id, amount_paise, currency, taken_paise, phase, reason_code, status, stage, respond_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (dispute_id) DO UPDATE
             SET taken_paise = excluded.taken_paise, phase = excluded.phase, status = excluded.status, stage = excluded.stage,
                 respond_by = coalesce(excluded.respond_by, known.respond_by), updated_at = now()
             WHERE known.payment_id = excluded.payment_id AND known.amount_paise >= excluded.taken_paise
               AND (known.stage < excluded.stage
                    OR known.stage = excluded.stage AND known.stage < 3 AND known.taken_paise < excluded.taken_paise)",
        dispute.id,
        dispute.payment_id,
        dispute.amount_paise,
        dispute.currency,
        dispute.taken(),
        dispute.phase,
        dispute.reason_code,
        dispute.status as _,
        dispute.status.stage(),
        dispute.respond_by,
    )
    .execute(conn)
    .await?;
    Ok(remembered.rows_affected() == 1)
}

async fn is_decided(conn: &mut PgConnection, id: &str) -> Result<bool> {
    let decided = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM disputes WHERE dispute_id = $1 AND stage = 3) AS "decided!""#,
        id
    )
    .fetch_one(conn)
    .await?;
    Ok(decided)
}

/// Alerts operators, who must answer at Razorpay.
async fn alert_open(
    conn: &mut PgConnection,
    dispute: &Dispute,
    booking: Option<BookingId>,
) -> Result<()> {
    let amount = |paise| written(paise, &dispute.currency);
    let taken = match dispute.taken() {
        0 => String::new(),
        taken => format!("; {} are taken meanwhile", amount(taken)),
    };
    let until = match dispute.respond_by {
        Some(at) => format!("answer at Razorpay before {} UTC", at.format("%Y-%m-%d %H:%M")),
        None => "answer at Razorpay".into(),
    };
    let Dispute { payment_id, phase, reason_code, .. } = dispute;
    let details = format!(
        "{} of {payment_id} ({phase}, {reason_code}): {until}{taken}",
        amount(dispute.amount_paise)
    );
    alerts::raise(conn, AlertReason::DisputeOpen, &dispute.id, booking, &details).await
}

/// The payment, as it was captured, and its booking. `None` while the ledger does not have the
/// payment: the dispute is then written together with its capture.
async fn captured(
    conn: &mut PgConnection,
    dispute: &Dispute,
) -> Result<Option<(ProviderPayment, Option<BookingId>)>> {
    let row = sqlx::query!(
        r#"SELECT booking_id AS "booking_id: BookingId", amount_paise, currency
           FROM payments WHERE payment_id = $1 AND kind = 'capture'"#,
        dispute.payment_id,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| {
        let (payment_id, order_id) = (dispute.payment_id.clone(), String::new());
        let money = ProviderPayment {
            payment_id,
            order_id,
            amount_paise: row.amount_paise,
            currency: row.currency,
        };
        (money, row.booking_id)
    }))
}

/// Writes what the bank has taken, or has given back.
async fn write_ledger(
    conn: &mut PgConnection,
    dispute: &Dispute,
    booking: Option<BookingId>,
    captured: &ProviderPayment,
) -> Result<()> {
    let net = sqlx::query_scalar!(
        r#"SELECT coalesce(-sum(amount_paise), 0)::bigint AS "net!" FROM payments
           WHERE payment_id = $1 AND kind IN ('dispute', 'dispute_reversal') AND source_id = $2"#,
        dispute.payment_id,
        dispute.id,
    )
    .fetch_one(&mut *conn)
    .await?;
    let more = dispute.taken() - net;
    let movement = if more < 0 { LedgerEntry::DisputeReversal } else { LedgerEntry::Dispute };
    if more == 0 {
        return Ok(());
    }
    let money = ProviderPayment { amount_paise: more.abs(), ..captured.clone() };
    record_source(conn, &[movement], booking, &money, &dispute.id).await
}

/// Ends a dispute. What the bank keeps has gone back for good; the rest may be refunded again.
async fn decide(
    conn: &mut PgConnection,
    dispute: &Dispute,
    state: PaymentState,
    captured: Option<&ProviderPayment>,
    of: Option<BookingId>,
    booking: Option<&LockedBooking>,
    after: &mut AfterCommit,
) -> Result<()> {
    // The time to answer is over.
    alerts::settle(conn, AlertReason::DisputeOpen, &dispute.id).await?;
    if dispute.taken() == 0 {
        return refunds::resume(conn, &dispute.payment_id).await;
    }
    // Confirmed by the Node service, which keeps no ledger: the cancellation writes the sale.
    let legacy = booking.filter(|booking| booking.is_confirmed_with(&dispute.payment_id));
    let whole = match (captured, legacy) {
        (Some(captured), _) => captured.amount_paise,
        (None, Some(booking)) => booking.total.get(),
        (None, None) => dispute.payment.as_ref().map_or(i64::MAX, |payment| payment.amount_paise),
    };
    let all = refunds::gone_for_good(conn, &dispute.payment_id).await? >= whole;
    let outcome = match state {
        PaymentState::Sold | PaymentState::New if all => {
            remember_whole(conn, dispute, of, whole).await?;
            match booking {
                Some(booking) => {
                    cancel_paid_back(conn, booking, Some("Payment disputed"), after).await?;
                    "the booking is cancelled, its tickets are void"
                }
                None => "no booking has it",
            }
        }
        PaymentState::Sold => {
            if let Some(captured) = captured {
                let part = ProviderPayment { amount_paise: dispute.taken(), ..captured.clone() };
                record_source(conn, &[LedgerEntry::SaleReversal], of, &part, &dispute.id).await?;
            }
            "it is a part of the payment: the booking stands"
        }
        PaymentState::Owed | PaymentState::Requested | PaymentState::RefundFailed if all => {
            refunds::settle(conn, &dispute.payment_id).await?;
            "nothing is owed any more"
        }
        PaymentState::Requested => {
            refunds::resume(conn, &dispute.payment_id).await?;
            "the rest is still owed"
        }
        PaymentState::Owed | PaymentState::RefundFailed => "the rest is still owed",
        PaymentState::Refunded => "it had been refunded: the money is gone twice",
        PaymentState::New | PaymentState::Lapsed => "the payment is not in our books",
    };
    let taken = written(dispute.taken(), &dispute.currency);
    let details = format!("{taken} of {} are the buyer's again: {outcome}", dispute.payment_id);
    alerts::raise(conn, AlertReason::DisputeLost, &dispute.id, of, &details).await
}

/// Nothing of the payment is left: later news of it cannot change that.
async fn remember_whole(
    conn: &mut PgConnection,
    dispute: &Dispute,
    booking: Option<BookingId>,
    whole: i64,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO refunds (payment_id, booking_id, amount_paise, currency, reason, status)
         VALUES ($1, $2, $3, $4, $5, 'processed') ON CONFLICT ON CONSTRAINT refunds_payment_key DO NOTHING",
        dispute.payment_id,
        booking as _,
        whole,
        dispute.currency,
        RefundReason::Disputed as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Disputes that have not ended as far as we know, the oldest first.
pub async fn undecided(conn: &mut PgConnection, limit: i64) -> Result<Vec<String>> {
    let ids = sqlx::query_scalar!(
        "SELECT dispute_id FROM disputes WHERE stage < 3 ORDER BY created_at, dispute_id LIMIT $1",
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(ids)
}

/// A dispute's state in our books, and what the bank has taken.
pub async fn known(conn: &mut PgConnection, id: &str) -> Result<Option<(DisputeStatus, i64)>> {
    let row = sqlx::query!("SELECT status, taken_paise FROM disputes WHERE dispute_id = $1", id)
        .fetch_optional(conn)
        .await?;
    Ok(row.map(|row| (DisputeStatus::of(&row.status), row.taken_paise)))
}
