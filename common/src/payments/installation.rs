//! The identity of this installation, the owner of an order at Razorpay, and the hold on refunds
//! while operators look at books that are not what they were.
//!
//! Other shops and other installations may use our account at Razorpay, and our own database may
//! have been restored from a backup or emptied. So an order is ours only if our books have it as
//! made under our id (they may be a copy: see the views `own_orders` and `copied_payments`), or if
//! its notes name this installation and its receipt is the reference of one of our bookings. This
//! protects against accidents only: a shop that can create orders at Razorpay with our key can name
//! us.

use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use sqlx::{PgConnection, PgPool};

use crate::{
    audit::{self, Action, Subject},
    error::Result,
    jobs::{admin, payments::RefundPayment},
    ledger::{alerts, entries::ProviderPayment},
    types::{alert_reason::AlertReason, ids::BookingId},
};

/// The note of an order at Razorpay that says which installation created it.
pub const NOTE: &str = "nexus_installation";

/// The subject of an alert about held refunds.
const REFUNDS: &str = "refunds";
/// The subject of the alert about strangers' orders.
const ORDERS: &str = "orders";

/// The owner of an order that our books do not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// Ours: it is for this booking.
    Ours(BookingId),
    /// Ours, for a booking that our books do not have: they are older than the order.
    Lost,
    /// Another installation's, by its id.
    OtherInstallation(String),
    /// Another shop's, which uses the same account at Razorpay.
    Stranger,
}

impl Owner {
    /// The owner, in the words of the webhook inbox.
    pub fn outcome(&self) -> &'static str {
        match self {
            Owner::Ours(_) => "ours",
            Owner::Lost => "lost_booking",
            Owner::OtherInstallation(_) | Owner::Stranger => "not_ours",
        }
    }
}

/// Decides who owns an order on which this installation takes no money: by our books, which may be
/// a copy of another installation's, or by its receipt and notes.
pub async fn owner(
    conn: &mut PgConnection,
    order_id: &str,
    receipt: Option<&str>,
    notes: &Value,
) -> Result<Owner> {
    let named = notes[NOTE].as_str();
    let found = sqlx::query!(
        r#"SELECT coalesce(i.id::text = $2, FALSE) AS "ours!", b.id AS "booking?: BookingId", b.orders_are_marked AS "marked?",
                  nullif(o.installation, i.id)::text AS ordered_by, nullif(b.installation, i.id)::text AS booked_by
           FROM installation i LEFT JOIN bookings b ON b.booking_reference = $1 LEFT JOIN payment_orders o ON o.order_id = $3"#,
        receipt,
        named,
        order_id,
    )
    .fetch_one(conn)
    .await?;
    if let Some(other) = found.ordered_by {
        return Ok(Owner::OtherInstallation(other));
    }
    Ok(match (named, found.booking) {
        (Some(_), Some(booking)) if found.ours => Owner::Ours(booking),
        (Some(_), None) if found.ours => Owner::Lost,
        (Some(named), _) => Owner::OtherInstallation(named.to_owned()),
        (None, Some(booking)) if found.marked == Some(false) => {
            found.booked_by.map_or(Owner::Ours(booking), Owner::OtherInstallation)
        }
        (None, _) => Owner::Stranger,
    })
}

/// Whether an order was noted as missing from our books.
pub async fn is_foreign(conn: &mut PgConnection, order_id: &str) -> Result<bool> {
    let known = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM foreign_orders WHERE order_id = $1) AS "known!""#,
        order_id
    )
    .fetch_one(conn)
    .await?;
    Ok(known)
}

/// Notes money on an order that is not in our books, and does nothing else with it. Operators are
/// told once per order if the order is ours, once per installation if it is another installation's,
/// and otherwise by one alert that counts. If the order is ours, refunds are held from now on: our
/// books may have been restored from a backup.
pub async fn note_foreign(
    conn: &mut PgConnection,
    money: &ProviderPayment,
    owner: &Owner,
) -> Result<()> {
    let other = match owner {
        Owner::OtherInstallation(id) => Some(id.as_str()),
        _ => None,
    };
    // A payment without an order has only its own id.
    let known_by = if money.order_id.is_empty() { &money.payment_id } else { &money.order_id };
    let noted = sqlx::query!(
        r#"INSERT INTO foreign_orders (order_id, installation) VALUES ($1, $2) ON CONFLICT (order_id) DO NOTHING
           RETURNING NOT EXISTS (SELECT 1 FROM foreign_orders WHERE installation = $2) AS "first_of_installation!""#,
        known_by,
        other,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(noted) = noted else { return Ok(()) };
    let paid = match money.order_id.as_str() {
        "" => format!("{} paid on no order by {}", money.written(), money.payment_id),
        order_id => format!("{} paid on order {order_id} by {}", money.written(), money.payment_id),
    };
    match owner {
        Owner::OtherInstallation(id) if noted.first_of_installation => {
            let details = format!(
                "it uses our account at Razorpay; {} is the first of its payments, all of which are left alone",
                money.payment_id
            );
            alerts::raise(conn, AlertReason::OtherInstallation, id, None, &details).await
        }
        Owner::OtherInstallation(_) => Ok(()),
        Owner::Lost => {
            let details =
                format!("{paid}, which is ours, for a booking that our books do not have");
            alerts::raise(conn, AlertReason::LostBooking, &money.payment_id, None, &details)
                .await?;
            hold_refunds(conn, "our books are older than an order of ours at Razorpay").await
        }
        Owner::Ours(_) | Owner::Stranger => {
            alerts::count(conn, AlertReason::UnknownOrder, ORDERS, &paid).await
        }
    }
}

/// Stops asking for refunds from now on, and tells operators why.
pub async fn hold_refunds(conn: &mut PgConnection, why: &str) -> Result<()> {
    let held = sqlx::query!(
        "UPDATE installation SET refunds_held_at = now() WHERE refunds_held_at IS NULL"
    )
    .execute(&mut *conn)
    .await?;
    if held.rows_affected() == 0 {
        return Ok(());
    }
    audit::record(conn, Action::RefundsHeld, None, Subject::installation(), json!({})).await?;
    let details = format!("{why}; refunds wait until nexus-jobs release-refunds");
    alerts::raise(conn, AlertReason::RefundsHeld, REFUNDS, None, &details).await
}

/// Asks for refunds again. False when they were not held.
pub async fn release_refunds(db: &PgPool) -> Result<bool> {
    let mut tx = db.begin().await?;
    let held = sqlx::query!(
        "UPDATE installation SET refunds_held_at = NULL WHERE refunds_held_at IS NOT NULL"
    )
    .execute(&mut *tx)
    .await?;
    alerts::settle(&mut tx, AlertReason::RefundsHeld, REFUNDS).await?;
    admin::make_due::<RefundPayment>(&mut tx).await?;
    if held.rows_affected() == 1 {
        let released = Action::RefundsReleased;
        audit::record(&mut tx, released, None, Subject::installation(), json!({})).await?;
    }
    tx.commit().await?;
    Ok(held.rows_affected() == 1)
}

/// Whether refunds wait for an operator.
pub async fn refunds_are_held(conn: &mut PgConnection) -> Result<bool> {
    let held =
        sqlx::query_scalar!(r#"SELECT refunds_held_at IS NOT NULL AS "held!" FROM installation"#)
            .fetch_one(conn)
            .await?;
    Ok(held)
}

/// How far back to look at payments: `recent`, or longer if the last look is longer ago.
pub async fn unlooked(conn: &mut PgConnection, recent: Duration) -> Result<Duration> {
    let seconds = sqlx::query_scalar!(
        r#"SELECT coalesce(extract(epoch FROM now() - looked_at), 0)::float8 AS "seconds!" FROM installation"#
    )
    .fetch_one(conn)
    .await?;
    Ok(recent.max(Duration::try_from_secs_f64(seconds).unwrap_or_default() + recent))
}

/// Records that payments begun before `then`, in seconds since 1970, have been looked at.
pub async fn looked(conn: &mut PgConnection, then: i64) -> Result<()> {
    sqlx::query!("UPDATE installation SET looked_at = to_timestamp($1::bigint)", then)
        .execute(conn)
        .await?;
    Ok(())
}
