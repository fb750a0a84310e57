//! Tickets of the Node service and of earlier releases. Those whose QR codes hold only public data
//! are issued anew, the newest first, and mailed again if the event is still to come; those that
//! are signed, by a key that we still have, keep their codes, and get them stored.

use sqlx::PgConnection;

use super::{
    codes::{Code, SigningKey},
    delivery,
    issuing::{Signer, StoredCode},
    keys,
};
use crate::{
    error::Result,
    jobs::{
        self,
        notifications::{EmailTickets, SmsTickets},
    },
    types::ids::{BookingId, EventId, TicketId},
};

/// A booking's tickets whose codes are not signed.
#[derive(Debug)]
pub struct Unsigned {
    booking: BookingId,
    event: EventId,
    tickets: Vec<TicketId>,
}

/// The same tickets with new codes.
#[derive(Debug)]
pub struct Reissue {
    booking: BookingId,
    tickets: Vec<(TicketId, StoredCode)>,
}

/// Up to 50 bookings with unsigned tickets whose ids are below `before`, and where to look next.
pub async fn unsigned(
    conn: &mut PgConnection,
    before: TicketId,
) -> Result<(Vec<Unsigned>, TicketId)> {
    // The Node service, where it runs side by side with us, gets the time to send the tickets that
    // it has just made, so that the mail with the good codes comes last. A booking's tickets are
    // reissued together, so that its buyer gets one mail. The query looks by booking rather than in
    // the index of unsigned tickets, which may hold a million.
    let rows = sqlx::query!(
        r#"WITH newest AS (
             SELECT booking_id, id FROM tickets
             WHERE qr_nonce IS NULL AND status <> 'cancelled' AND id < $1 AND coalesce(generated_at, created_at) < now() - interval '10 minutes'
             ORDER BY id DESC LIMIT 50)
           SELECT b.id AS "booking: BookingId", b.event_id AS "event: EventId", (SELECT min(id) FROM newest) AS "lowest!: TicketId",
                  ARRAY(SELECT t.id FROM tickets t WHERE t.booking_id = b.id AND t.qr_nonce IS NULL ORDER BY t.id) AS "tickets!: Vec<TicketId>"
           FROM bookings b WHERE b.id IN (SELECT booking_id FROM newest)"#,
        before as _,
    )
    .fetch_all(conn)
    .await?;
    let lowest = rows.first().map_or(before, |row| row.lowest);
    let some = rows
        .into_iter()
        .map(|row| Unsigned { booking: row.booking, event: row.event, tickets: row.tickets })
        .collect();
    Ok((some, lowest))
}

/// Signs the new codes. Occupies a core for a while: do not call it on an async thread.
pub fn sign(some: Vec<Unsigned>, signer: &Signer) -> Result<Vec<Reissue>> {
    let sign = |Unsigned { booking, event, tickets }| {
        let code = |id| Ok((id, signer.code(event, id)?));
        Ok(Reissue { booking, tickets: tickets.into_iter().map(code).collect::<Result<_>>()? })
    };
    some.into_iter().map(sign).collect()
}

/// Replaces a booking's codes, unless another worker has. If the event is to come, the buyer is
/// sent the new ones; if the booking is no longer confirmed, the tickets are void. Returns how many
/// tickets were handled.
pub async fn replace(conn: &mut PgConnection, reissue: &Reissue, key: &SigningKey) -> Result<u64> {
    // As in `issuing::issue`.
    let about = sqlx::query!(
        r#"SELECT b.status = 'confirmed' AS "good!", e.end_date > now() AS "to_come!", u.email IS NOT NULL AND u.email_verified_at IS NOT NULL AS "has_email!"
           FROM bookings b JOIN events e ON e.id = b.event_id JOIN users u ON u.id = b.user_id WHERE b.id = $1 FOR SHARE OF b FOR KEY SHARE OF u"#,
        reissue.booking as _,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(about) = about else { return Ok(0) };
    if !about.good {
        let cancelled = sqlx::query!(
            "UPDATE tickets SET status = 'cancelled' WHERE booking_id = $1 AND qr_nonce IS NULL AND status <> 'cancelled'",
            reissue.booking as _,
        )
        .execute(conn)
        .await?;
        return Ok(cancelled.rows_affected());
    }
    keys::require_good(conn, &key.public()).await?;
    let ids: Vec<TicketId> = reissue.tickets.iter().map(|(id, _)| *id).collect();
    let codes = || reissue.tickets.iter().map(|(_, code)| code);
    let pictures: Vec<Option<&str>> = codes().map(|one| one.picture.as_deref()).collect();
    let nonces: Vec<i64> = codes().map(|one| one.code.nonce()).collect();
    let signatures: Vec<Vec<u8>> = codes().map(|one| one.code.signature()).collect();
    let replaced = sqlx::query!(
        "UPDATE tickets t SET qr_code = CASE WHEN t.owner_id IS NULL THEN new.picture END, qr_nonce = new.nonce, qr_signature = new.signature, qr_key = $5,
                email_sent = t.email_sent AND NOT CASE WHEN t.owner_id IS NULL THEN $6::boolean ELSE $9::boolean END, sms_sent = t.sms_sent AND NOT $7
         FROM unnest($2::int[], $3::text[], $4::bigint[], $8::bytea[]) AS new (id, picture, nonce, signature)
         WHERE t.booking_id = $1 AND t.id = new.id AND t.qr_nonce IS NULL",
        reissue.booking as _,
        &ids as _,
        &pictures as _,
        &nonces,
        key.public().id().to_string(),
        about.to_come && about.has_email,
        about.to_come && !about.has_email,
        &signatures,
        about.to_come,
    )
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if about.to_come && replaced > 0 {
        let booking_id = reissue.booking;
        // A live job has not sent yet, or finds the new codes when it has: see
        // `tickets::mark_emailed`.
        match about.has_email {
            true => {
                jobs::enqueue(conn, &EmailTickets { booking_id, reissued: true, to: None }).await?
            }
            false => {
                jobs::enqueue(conn, &SmsTickets { booking_id, reissued: true, to: None }).await?
            }
        };
        for (_, owner) in delivery::other_owners(conn, &[booking_id]).await? {
            let to = Some(owner);
            jobs::enqueue(conn, &EmailTickets { booking_id, reissued: true, to }).await?;
        }
    }
    Ok(replaced)
}

/// A ticket of which only the picture of its code was stored.
#[derive(Debug)]
pub struct Unstored {
    id: TicketId,
    event: EventId,
    nonce: i64,
}

/// Up to 300 tickets that this key has signed when only the pictures of codes were stored, the
/// newest first.
pub async fn unstored(conn: &mut PgConnection, key: &SigningKey) -> Result<Vec<Unstored>> {
    let some = sqlx::query_as!(
        Unstored,
        r#"SELECT id, (SELECT event_id FROM bookings WHERE id = booking_id) AS "event!", qr_nonce AS "nonce!"
           FROM tickets WHERE qr_key = $1 AND qr_signature IS NULL AND qr_nonce IS NOT NULL ORDER BY id DESC LIMIT 300"#,
        key.public().id().to_string(),
    );
    Ok(some.fetch_all(conn).await?)
}

/// The codes of these tickets, as this key has signed them: it says the same to the same.
pub fn sign_again(some: Vec<Unstored>, key: &SigningKey) -> Vec<(TicketId, Code)> {
    let code = |Unstored { id, event, nonce }| (id, Code::again(key, event, id, nonce));
    some.into_iter().map(code).collect()
}

/// Stores the codes of tickets, unless they have other ones by now.
pub async fn store(conn: &mut PgConnection, codes: &[(TicketId, Code)]) -> Result<u64> {
    let ids: Vec<TicketId> = codes.iter().map(|(id, _)| *id).collect();
    let nonces: Vec<i64> = codes.iter().map(|(_, code)| code.nonce()).collect();
    let signatures: Vec<Vec<u8>> = codes.iter().map(|(_, code)| code.signature()).collect();
    let stored = sqlx::query!(
        "WITH held AS MATERIALIZED (
             SELECT t.id, new.signature FROM unnest($1::int[], $2::bigint[], $3::bytea[]) AS new (id, nonce, signature)
             JOIN tickets t ON t.id = new.id AND t.qr_nonce = new.nonce ORDER BY t.id FOR NO KEY UPDATE OF t
         )
         UPDATE tickets t SET qr_signature = held.signature FROM held WHERE t.id = held.id",
        &ids as _,
        &nonces,
        &signatures,
    )
    .execute(conn)
    .await?;
    Ok(stored.rows_affected())
}
