//! The ledger: one row per movement of money, and the payment states that follow from it.

use sqlx::PgConnection;

use super::payment_states::PaymentState;
use crate::{
    error::Result,
    types::{ids::BookingId, money::written, statuses::RefundStatus, text_enum::text_enum},
};

/// A payment as Razorpay tells of it, captured or not.
#[derive(Debug, Clone)]
pub struct ProviderPayment {
    pub payment_id: String,
    pub order_id: String,
    pub amount_paise: i64,
    pub currency: String,
}

impl ProviderPayment {
    /// Its amount as people write it.
    pub fn written(&self) -> String {
        written(self.amount_paise, &self.currency)
    }
}

/// A payment's state. It may have changed by the time the caller uses it; see [`lock_payment`].
pub async fn state(conn: &mut PgConnection, payment_id: &str) -> Result<PaymentState> {
    let row = sqlx::query!(
        r#"SELECT EXISTS (SELECT 1 FROM payments WHERE payment_id = $1 AND kind = 'capture') AS "captured!",
                  (SELECT status FROM refunds WHERE payment_id = $1) AS "refund: RefundStatus""#,
        payment_id,
    )
    .fetch_one(conn)
    .await?;
    Ok(PaymentState::of(row.captured, row.refund))
}

/// The states of several payments whose lock this transaction has, in the same order; `None` for a
/// payment of which something has gone back already.
pub(crate) async fn untouched_states(
    conn: &mut PgConnection,
    payment_ids: &[&str],
) -> Result<Vec<Option<PaymentState>>> {
    let rows = sqlx::query!(
        r#"SELECT EXISTS (SELECT 1 FROM payments p WHERE p.payment_id = wanted.id AND kind = 'capture') AS "captured!",
                  (SELECT status FROM refunds r WHERE r.payment_id = wanted.id) AS "refund: RefundStatus",
                  EXISTS (SELECT 1 FROM provider_refunds r WHERE r.payment_id = wanted.id)
                      OR EXISTS (SELECT 1 FROM disputes d WHERE d.payment_id = wanted.id) AS "touched!"
           FROM unnest($1::text[]) WITH ORDINALITY AS wanted (id, number) ORDER BY number"#,
        payment_ids as &[&str],
    )
    .fetch_all(conn)
    .await?;
    let state = |captured, refund| PaymentState::of(captured, refund);
    Ok(rows
        .into_iter()
        .map(|row| (!row.touched).then(|| state(row.captured, row.refund)))
        .collect())
}

/// The same for a change: no other transaction changes the payment until this one ends. Lock the
/// inventory and the booking's row before the payment: always in that order.
/// `bookings::sale::lock_for_update` takes the same lock.
pub(crate) async fn lock_payment(
    conn: &mut PgConnection,
    payment_id: &str,
) -> Result<PaymentState> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended('payment:' || $1, 0))", payment_id)
        .execute(&mut *conn)
        .await?;
    state(conn, payment_id).await
}

text_enum! {
    /// A way in which money moves: the kind of a row in the ledger.
    pub enum LedgerEntry {
        /// The buyer's money arrived.
        Capture = "capture",
        /// It paid for a confirmed booking.
        Sale = "sale",
        /// That booking was cancelled.
        SaleReversal = "sale_reversal",
        /// The money went back.
        Refund = "refund",
        /// The buyer's bank took it.
        Dispute = "dispute",
        /// The bank gave it back.
        DisputeReversal = "dispute_reversal",
    }
}

impl LedgerEntry {
    /// The amount with its sign: positive when money arrives here, negative when it leaves.
    fn signed(self, amount_paise: i64) -> i64 {
        match self {
            LedgerEntry::Capture | LedgerEntry::SaleReversal | LedgerEntry::DisputeReversal => {
                amount_paise
            }
            LedgerEntry::Sale | LedgerEntry::Refund | LedgerEntry::Dispute => -amount_paise,
        }
    }
}

/// Adds a row to the ledger; false when it has this movement of this payment already.
pub(crate) async fn record(
    conn: &mut PgConnection,
    movement: LedgerEntry,
    booking: Option<BookingId>,
    money: &ProviderPayment,
) -> Result<bool> {
    Ok(record_all(conn, &[movement], booking, money).await? == 1)
}

/// The same for movements that a payment may have several of: `source_id` is the refund or dispute.
pub(crate) async fn record_source(
    conn: &mut PgConnection,
    movements: &[LedgerEntry],
    booking: Option<BookingId>,
    money: &ProviderPayment,
    source_id: &str,
) -> Result<()> {
    insert(conn, movements, booking, money, source_id).await.map(drop)
}

/// Adds several rows to the ledger, in that order; returns how many are new.
pub(crate) async fn record_all(
    conn: &mut PgConnection,
    movements: &[LedgerEntry],
    booking: Option<BookingId>,
    money: &ProviderPayment,
) -> Result<u64> {
    insert(conn, movements, booking, money, "").await
}

/// Adds the capture and the sale of several payments of which nothing has gone back.
pub(crate) async fn record_sales(
    conn: &mut PgConnection,
    sales: &[(BookingId, &ProviderPayment)],
) -> Result<()> {
    if sales.is_empty() {
        return Ok(());
    }
    let bookings: Vec<BookingId> = sales.iter().map(|(booking, _)| *booking).collect();
    let column = |field: fn(&ProviderPayment) -> &str| -> Vec<&str> {
        sales.iter().map(|(_, money)| field(money)).collect()
    };
    let amounts: Vec<i64> = sales.iter().map(|(_, money)| money.amount_paise).collect();
    let movements = [LedgerEntry::Capture, LedgerEntry::Sale];
    let signs: Vec<i64> = movements.iter().map(|movement| movement.signed(1)).collect();
    sqlx::query!(
        "INSERT INTO payments (kind, booking_id, order_id, payment_id, amount_paise, currency)
         SELECT kind, booking_id, order_id, payment_id, sign * amount, currency
         FROM unnest($1::int[], $2::text[], $3::text[], $4::bigint[], $5::text[])
             WITH ORDINALITY AS sale (booking_id, order_id, payment_id, amount, currency, number),
             unnest($6::text[], $7::bigint[]) WITH ORDINALITY AS movement (kind, sign, step)
         ORDER BY number, step",
        &bookings as _,
        &column(|money| &money.order_id) as &[&str],
        &column(|money| &money.payment_id) as &[&str],
        &amounts,
        &column(|money| &money.currency) as &[&str],
        &movements as _,
        &signs,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Adds rows; with a payment's capture or sale, also what has already gone back of it.
async fn insert(
    conn: &mut PgConnection,
    movements: &[LedgerEntry],
    booking: Option<BookingId>,
    money: &ProviderPayment,
    source_id: &str,
) -> Result<u64> {
    let amounts: Vec<i64> =
        movements.iter().map(|movement| movement.signed(money.amount_paise)).collect();
    let recorded = sqlx::query!(
        "INSERT INTO payments (kind, booking_id, order_id, payment_id, amount_paise, currency, source_id)
         SELECT kind, $3, $4, $5, amount, $6, source_id FROM (
             SELECT number, kind, amount, $7 AS source_id
             FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS movement (kind, amount, number)
             UNION ALL
             SELECT 10, 'refund', -amount_paise, refund_id FROM provider_refunds
             WHERE 'capture' = ANY ($1) AND payment_id = $5 AND status = 'processed'
             UNION ALL
             SELECT 10, 'dispute', -taken_paise, dispute_id FROM disputes
             WHERE 'capture' = ANY ($1) AND payment_id = $5 AND taken_paise > 0
             UNION ALL
             SELECT 11, 'sale_reversal', amount_paise, refund_id FROM provider_refunds
             WHERE 'sale' = ANY ($1) AND payment_id = $5 AND status = 'processed'
             UNION ALL
             SELECT 11, 'sale_reversal', taken_paise, dispute_id FROM disputes
             WHERE 'sale' = ANY ($1) AND payment_id = $5 AND taken_paise > 0 AND stage = 3) movement
         ORDER BY number
         ON CONFLICT ON CONSTRAINT payments_movement_key DO NOTHING",
        movements as _,
        &amounts,
        booking as _,
        money.order_id,
        money.payment_id,
        money.currency,
        source_id,
    )
    .execute(conn)
    .await?;
    Ok(recorded.rows_affected())
}
