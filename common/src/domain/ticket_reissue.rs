//! Tickets of the Node service and of earlier releases hold nothing in their QR codes that is not known to everybody: they are issued
//! anew, the newest first, and mailed again where somebody still needs them.

use sqlx::PgConnection;

use super::{
    ids::{BookingId, EventId},
    ticket_codes::SigningKey,
    tickets::Code,
};
use crate::{
    error::Result,
    jobs::{self, notifications::EmailTickets},
};

/// A booking's tickets that nobody has signed.
#[derive(Debug)]
pub struct Unsigned {
    booking: BookingId,
    event: EventId,
    tickets: Vec<i32>,
}

/// The same with new codes.
#[derive(Debug)]
pub struct Reissue {
    booking: BookingId,
    tickets: Vec<(i32, Code)>,
}

/// At most 50 bookings with tickets of ids below `before` that nobody has signed; and from where to look on.
pub async fn unsigned(conn: &mut PgConnection, before: i32) -> Result<(Vec<Unsigned>, i32)> {
    // A booking's tickets belong together, so that its buyer gets one mail. They are looked for by booking, and not in the index of those
    // that nobody has signed, which may hold a million.
    let rows = sqlx::query!(
        r#"WITH newest AS (
             SELECT booking_id, id FROM tickets
             WHERE qr_nonce IS NULL AND status <> 'cancelled' AND id < $1 ORDER BY id DESC LIMIT 50)
           SELECT b.id, b.event_id, (SELECT min(id) FROM newest) AS "lowest!",
                  ARRAY(SELECT t.id FROM tickets t WHERE t.booking_id = b.id AND t.qr_nonce IS NULL ORDER BY t.id) AS "tickets!"
           FROM bookings b WHERE b.id IN (SELECT booking_id FROM newest)"#,
        before,
    )
    .fetch_all(conn)
    .await?;
    let lowest = rows.first().map_or(before, |row| row.lowest);
    let some = rows
        .into_iter()
        .map(|row| Unsigned {
            booking: BookingId(row.id),
            event: EventId(row.event_id),
            tickets: row.tickets,
        })
        .collect();
    Ok((some, lowest))
}

/// Draws the new codes. Takes a core for a while: not on an async thread.
pub fn print(some: Vec<Unsigned>, key: &SigningKey) -> Result<Vec<Reissue>> {
    let print = |Unsigned { booking, event, tickets }| {
        let draw = |id| Ok((id, Code::draw(key, event, id)?));
        Ok(Reissue { booking, tickets: tickets.into_iter().map(draw).collect::<Result<_>>()? })
    };
    some.into_iter().map(print).collect()
}

/// Replaces a booking's codes, unless somebody else has. Whoever goes to the event is sent them. Returns how many were replaced.
pub async fn replace(conn: &mut PgConnection, reissue: &Reissue, key: &SigningKey) -> Result<u64> {
    // Shared with other readers, exclusive against cancellation.
    let needed = sqlx::query_scalar!(
        r#"SELECT b.status = 'confirmed' AND e.end_date > now() AS "needed!"
           FROM bookings b JOIN events e ON e.id = b.event_id WHERE b.id = $1 FOR SHARE OF b"#,
        reissue.booking.0,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(needed) = needed else { return Ok(0) };
    let ids: Vec<i32> = reissue.tickets.iter().map(|(id, _)| *id).collect();
    let pictures: Vec<String> = reissue.tickets.iter().map(|(_, code)| code.picture.clone()).collect();
    let nonces: Vec<i64> = reissue.tickets.iter().map(|(_, code)| code.nonce).collect();
    let replaced = sqlx::query!(
        "UPDATE tickets t SET qr_code = new.picture, qr_nonce = new.nonce, qr_key = $5, email_sent = t.email_sent AND NOT $6
         FROM unnest($2::int[], $3::text[], $4::bigint[]) AS new (id, picture, nonce)
         WHERE t.booking_id = $1 AND t.id = new.id AND t.qr_nonce IS NULL",
        reissue.booking.0,
        &ids,
        &pictures,
        &nonces,
        key.public().id().to_string(),
        needed,
    )
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if needed && replaced > 0 {
        // A live one has not been sent yet, or finds the new codes when it has: see `tickets::mark_emailed`.
        jobs::enqueue(conn, &EmailTickets { booking_id: reissue.booking.0 }).await?;
    }
    Ok(replaced)
}
