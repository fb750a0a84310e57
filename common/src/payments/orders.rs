//! Orders, and the booking behind an order (docs/contract.md#payments).

use std::collections::HashMap;

use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    bookings::changes,
    error::{Error, Result, violated_constraint},
    storage::{groups::Groups, postgres::begin},
    types::{
        ids::{BookingId, UserId},
        money::{CURRENCY, Paise},
        statuses::{BookingStatus, PaymentStatus},
    },
};

/// A request for an order; every rule that needs no database is checked.
#[derive(Debug)]
pub struct NewOrder {
    pub booking: BookingId,
    /// The total as the client knows it.
    pub amount: Paise,
}

/// A booking that its buyer may pay.
#[derive(Debug)]
pub struct Payable {
    pub booking: BookingId,
    pub reference: String,
    /// This installation: see [`installation`](super::installation).
    pub installation: Uuid,
    pub total: Paise,
    /// An earlier order that the buyer can still pay.
    pub open_order: Option<String>,
    /// Until the booking expires.
    pub seconds_left: Option<i64>,
    pub prefill: Prefill,
}

/// What the checkout form fills in for the buyer.
#[derive(Debug, Serialize, ToSchema)]
pub struct Prefill {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub contact: Option<String>,
}

/// The booking, if `user` may pay it now and the amount is its total.
pub async fn payable(conn: &mut PgConnection, user: UserId, wanted: &NewOrder) -> Result<Payable> {
    let row = sqlx::query!(
        r#"SELECT b.booking_reference, b.total_amount AS "total: Paise", b.status AS "status: BookingStatus",
                  coalesce(b.expires_at <= now(), FALSE) AS "overdue!", u.name, coalesce(u.email, u.claimed_email) AS email,
                  coalesce(u.phone, u.claimed_phone) AS phone,
                  (SELECT o.order_id FROM own_orders o
                   WHERE o.booking_id = b.id AND o.superseded_at IS NULL AND o.amount_paise = $3 AND o.currency = $4) AS open_order,
                  greatest(floor(extract(epoch FROM b.expires_at - now())), 1)::bigint AS "seconds_left",
                  e.status = 'published' AND e.taken_down_at IS NULL AS "on_sale!", i.id AS installation
           FROM bookings b JOIN users u ON u.id = b.user_id JOIN events e ON e.id = b.event_id CROSS JOIN installation i
           WHERE b.id = $1 AND b.user_id = $2"#,
        wanted.booking as _,
        user as _,
        wanted.amount.get(),
        CURRENCY,
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::BookingNotPayable)?;
    match row.status {
        BookingStatus::Pending if !row.overdue => {}
        BookingStatus::Pending | BookingStatus::Expired => return Err(Error::BookingExpired),
        status => return Err(Error::BookingNotPending(status)),
    }
    if !row.on_sale {
        return Err(Error::EventNotOnSale);
    }
    if row.total != wanted.amount {
        return Err(Error::AmountMismatch(row.total.to_string()));
    }
    Ok(Payable {
        booking: wanted.booking,
        reference: row.booking_reference,
        installation: row.installation,
        total: row.total,
        open_order: row.open_order,
        seconds_left: row.seconds_left,
        prefill: Prefill { name: row.name, email: row.email, contact: row.phone },
    })
}

/// An order that Razorpay has created.
#[derive(Clone, Debug)]
pub struct CreatedOrder {
    pub booking: BookingId,
    pub order_id: String,
    pub amount: Paise,
}

/// Records orders as [`remember`] does, those of many bookings in one transaction. `None` for an
/// order whose booking another transaction holds: it is to be remembered by itself, so that nobody
/// waits for what others hold.
pub fn recorder(db: PgPool) -> Groups<CreatedOrder, Option<String>> {
    Groups::new(move |orders: Vec<CreatedOrder>| {
        let db = db.clone();
        async move {
            let mut tx = begin(&db).await?;
            let bookings: Vec<BookingId> = orders.iter().map(|order| order.booking).collect();
            let held = changes::lock_free(&mut tx, &bookings).await?;
            let now: Vec<CreatedOrder> =
                orders.iter().filter(|order| held.contains(&order.booking)).cloned().collect();
            let mut live = remember_all(&mut tx, &now).await?.into_iter();
            tx.commit().await?;
            let result = |order: &CreatedOrder| match held.contains(&order.booking) {
                true => Ok(live.next()),
                false => Ok(None),
            };
            Ok(orders.iter().map(result).collect())
        }
    })
}

/// Records an order that Razorpay has created, and returns the order that the buyer is to pay: of
/// several requested at once, the first that was recorded. The others stay known, in case the buyer
/// pays them after all.
pub async fn remember(conn: &mut PgConnection, order: CreatedOrder) -> Result<String> {
    // One at a time: the second request finds the first one's order.
    sqlx::query!("SELECT id FROM bookings WHERE id = $1 FOR UPDATE", order.booking as _)
        .fetch_optional(&mut *conn)
        .await?;
    let live = remember_all(conn, &[order]).await?.pop();
    live.ok_or_else(|| Error::internal("an order was not recorded"))
}

/// The same for several orders, each of another booking that this transaction has locked; returns
/// the live ones in the same order.
async fn remember_all(conn: &mut PgConnection, orders: &[CreatedOrder]) -> Result<Vec<String>> {
    let bookings: Vec<BookingId> = orders.iter().map(|order| order.booking).collect();
    let ids: Vec<&str> = orders.iter().map(|order| order.order_id.as_str()).collect();
    let amounts: Vec<i64> = orders.iter().map(|order| order.amount.get()).collect();
    // The buyer is no longer asked for an order of another amount, currency or installation.
    sqlx::query!(
        "UPDATE payment_orders o SET superseded_at = now()
         FROM unnest($1::int[], $2::bigint[]) AS new (booking_id, amount)
         WHERE o.booking_id = new.booking_id AND superseded_at IS NULL
             AND (amount_paise <> new.amount OR currency <> $3 OR installation <> (SELECT id FROM installation))",
        &bookings as _,
        &amounts,
        CURRENCY,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "INSERT INTO payment_orders (order_id, booking_id, amount_paise, currency, superseded_at, look_at, installation)
         SELECT order_id, booking_id, amount, $4, CASE WHEN EXISTS (
                    SELECT 1 FROM payment_orders o WHERE o.booking_id = new.booking_id AND superseded_at IS NULL) THEN now() END,
                coalesce(b.expires_at, now()), (SELECT id FROM installation)
         FROM unnest($1::text[], $2::int[], $3::bigint[]) AS new (order_id, booking_id, amount)
         LEFT JOIN bookings b ON b.id = new.booking_id
         ON CONFLICT (order_id) DO NOTHING",
        &ids as &[&str],
        &bookings as _,
        &amounts,
        CURRENCY,
    )
    .execute(&mut *conn)
    .await
    // Of two orders of one booking, one is recorded first, and then the other.
    .map_err(|error| match violated_constraint(&error) {
        Some("payment_orders_live") => Error::Collision(Box::new(error)),
        _ => error.into(),
    })?;
    let live = sqlx::query!(
        r#"WITH live AS (
               SELECT booking_id, order_id FROM payment_orders WHERE booking_id = ANY ($1) AND superseded_at IS NULL
           ), marked AS (
               UPDATE bookings b SET payment_id = live.order_id, payment_gateway = 'razorpay'
               FROM live WHERE b.id = live.booking_id AND b.status = 'pending'
           )
           SELECT booking_id AS "booking: BookingId", order_id FROM live"#,
        &bookings as _,
    )
    .fetch_all(conn)
    .await?;
    let live: HashMap<BookingId, String> =
        live.into_iter().map(|row| (row.booking, row.order_id)).collect();
    let of = |order: &CreatedOrder| live.get(&order.booking).cloned();
    let found: Option<Vec<String>> = orders.iter().map(of).collect();
    found.ok_or_else(|| Error::internal("an order was not recorded"))
}

/// Records an order whose process created it and died before it could record it; the booking may
/// have been deleted with its event since. No buyer is asked to pay such an order again.
pub async fn adopt(
    conn: &mut PgConnection,
    order_id: &str,
    booking: BookingId,
    amount_paise: i64,
    currency: &str,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO payment_orders (order_id, booking_id, amount_paise, currency, superseded_at)
         VALUES ($1, $2, $3, $4, now()) ON CONFLICT (order_id) DO NOTHING",
        order_id,
        booking as _,
        amount_paise,
        currency,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The booking of an order, if this installation takes money on it.
pub async fn booking(conn: &mut PgConnection, order_id: &str) -> Result<Option<BookingId>> {
    let id = sqlx::query_scalar!(
        r#"SELECT booking_id AS "id!: BookingId" FROM own_orders WHERE order_id = $1"#,
        order_id
    )
    .fetch_optional(conn)
    .await?;
    Ok(id)
}

/// The money that was paid on an order has gone back: it cannot be paid again, so its buyer gets
/// another order.
pub(super) async fn supersede(conn: &mut PgConnection, order_id: &str) -> Result<()> {
    sqlx::query!(
        "UPDATE payment_orders SET superseded_at = now() WHERE order_id = $1 AND superseded_at IS NULL",
        order_id
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The response to `GET /payments/verify/:orderId`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PaymentState)]
pub struct PaymentVerification {
    pub order_id: String,
    pub booking_id: BookingId,
    pub booking_reference: String,
    pub status: BookingStatus,
    pub payment_status: PaymentStatus,
    pub is_confirmed: bool,
}

/// Reads the states of the bookings behind order or payment ids, each for its owner, many together.
/// A state is `refunded` when that payment has gone back, even while the booking still waits for
/// another payment.
pub fn states(db: PgPool) -> Groups<(String, UserId), PaymentVerification> {
    Groups::new(move |wanted| {
        let db = db.clone();
        async move { state(&mut *db.acquire().await?, &wanted).await }
    })
}

async fn state(
    conn: &mut PgConnection,
    wanted: &[(String, UserId)],
) -> Result<Vec<Result<PaymentVerification>>> {
    let (ids, users): (Vec<&str>, Vec<UserId>) =
        wanted.iter().map(|(id, user)| (id.as_str(), *user)).unzip();
    let rows = sqlx::query!(
        r#"SELECT wanted.number AS "number!", b.id AS "id: BookingId", b.booking_reference, b.status AS "status: BookingStatus",
                  CASE WHEN b.status = 'pending' AND EXISTS (
                      SELECT 1 FROM payments p JOIN refunds r ON r.payment_id = p.payment_id
                      WHERE p.booking_id = b.id AND p.kind = 'capture' AND wanted.id IN (p.order_id, p.payment_id))
                  THEN 'refunded' ELSE b.payment_status END AS "payment_status!: PaymentStatus"
           FROM unnest($1::text[], $2::int[]) WITH ORDINALITY AS wanted (id, user_id, number)
           CROSS JOIN LATERAL (
               SELECT * FROM bookings WHERE user_id = wanted.user_id AND id IN (
                   SELECT booking_id FROM payment_orders WHERE order_id = wanted.id
                   UNION ALL SELECT booking_id FROM payments WHERE payment_id = wanted.id
                   UNION ALL SELECT id FROM bookings WHERE payment_id = wanted.id)
               LIMIT 1
           ) b"#,
        &ids as &[&str],
        &users as _,
    )
    .fetch_all(conn)
    .await?;
    let mut states: HashMap<usize, PaymentVerification> = HashMap::new();
    for row in rows {
        let number = usize::try_from(row.number - 1).map_err(Error::internal)?;
        let state = PaymentVerification {
            order_id: wanted[number].0.clone(),
            booking_id: row.id,
            booking_reference: row.booking_reference,
            is_confirmed: row.status == BookingStatus::Confirmed,
            status: row.status,
            payment_status: row.payment_status,
        };
        states.insert(number, state);
    }
    Ok((0..wanted.len()).map(|number| states.remove(&number).ok_or(Error::OrderNotFound)).collect())
}

/// The response to `POST /payments/create-order`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Order)]
pub struct CheckoutOrder {
    pub order_id: String,
    /// In paise, as Razorpay counts.
    #[schema(minimum = 1)]
    pub amount: i64,
    pub currency: &'static str,
    /// The booking's reference.
    pub receipt: String,
    pub status: &'static str,
    pub key_id: String,
    pub checkout_options: CheckoutOptions,
}

/// The options of Razorpay's checkout form.
#[derive(Debug, Serialize, ToSchema)]
pub struct CheckoutOptions {
    pub key: String,
    /// In paise, as Razorpay counts.
    #[schema(minimum = 1)]
    pub amount: i64,
    pub currency: &'static str,
    pub name: &'static str,
    pub description: String,
    pub order_id: String,
    /// Seconds until the booking expires, when the form closes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, nullable = false)]
    pub timeout: Option<i64>,
    pub prefill: Prefill,
    pub theme: Theme,
}

/// The look of the checkout form.
#[derive(Debug, Serialize, ToSchema)]
pub struct Theme {
    pub color: &'static str,
}

/// The order in the form that its buyer's browser gets.
pub fn checkout(payable: Payable, order_id: String, key_id: &str) -> CheckoutOrder {
    let amount = payable.total.get();
    CheckoutOrder {
        amount,
        currency: CURRENCY,
        status: "created",
        key_id: key_id.to_owned(),
        checkout_options: CheckoutOptions {
            key: key_id.to_owned(),
            amount,
            currency: CURRENCY,
            name: "Event Booking",
            description: format!("Booking: {}", payable.reference),
            order_id: order_id.clone(),
            timeout: payable.seconds_left,
            prefill: payable.prefill,
            theme: Theme { color: "#3399cc" },
        },
        receipt: payable.reference,
        order_id,
    }
}
