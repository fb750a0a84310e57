//! Telling the buyers of an event that its date or place has changed, or that it is near:
//! [`events::notices`](crate::events::notices) begins it. Each booking's buyer is told once, however
//! often the job is interrupted.

use sqlx::PgConnection;

use crate::{
    error::Result,
    events::notices::{NoticeKind, Occasion},
    jobs::{
        self,
        notifications::{EmailNotice, SmsNotice},
    },
    observability::traces,
    tickets::delivery::{self, Portion},
    types::{
        ids::{BookingId, NoticeId, UserId},
        statuses::BookingStatus,
        time::Timestamp,
        time_zone::TimeZone,
    },
};

/// Bookings that one transaction sees to.
const PAGE: i64 = 5_000;

/// Enqueues the messages to the next buyers. True if there may be more.
pub async fn tell_next(conn: &mut PgConnection, id: NoticeId) -> Result<bool> {
    let held = sqlx::query_scalar!(
        r#"SELECT id AS "id: NoticeId" FROM event_notices WHERE id = $1 AND finished_at IS NULL FOR UPDATE"#,
        id as _,
    );
    if held.fetch_optional(&mut *conn).await?.is_none() {
        return Ok(false);
    }
    // A separate statement sees what an organiser has changed while this waited.
    let notice = sqlx::query!(
        r#"SELECT kind AS "kind: NoticeKind", n.event_id, told_through, begun_at IS NULL AS "is_new!", changed_at,
                  e.status = 'cancelled' OR e.taken_down_at IS NOT NULL AS "is_off!", n.start_date = e.start_date AS "is_same_day!",
                  (SELECT count(*) < 3 FROM event_notices other WHERE other.event_id = n.event_id AND other.kind = 'change' AND other.id <> n.id
                       AND other.begun_at > now() - interval '1 day') AS "texts!",
                  (n.start_date, n.time_zone, n.location, n.venue_name)
                      IS NOT DISTINCT FROM (e.start_date, e.time_zone, e.location, e.venue_name) AS "is_as_before!"
           FROM event_notices n JOIN events e ON e.id = n.event_id WHERE n.id = $1"#,
        id as _,
    )
    .fetch_one(&mut *conn)
    .await?;
    if notice.kind == NoticeKind::Change && notice.is_new && notice.is_as_before {
        // It was taken back in time. Nobody was told, so that a further change need not wait.
        sqlx::query!("DELETE FROM event_notices WHERE id = $1", id as _).execute(conn).await?;
        return Ok(false);
    }
    // Of another date, buyers are reminded when it is near.
    let is_idle = notice.kind == NoticeKind::Reminder && !notice.is_same_day;
    let bookings = match is_idle || notice.is_off {
        true => vec![],
        false => sqlx::query!(
            r#"WITH of_event AS MATERIALIZED (
                   SELECT id, user_id FROM bookings
                   -- Who has not paid yet may do so in a moment, and has seen what was before.
                   WHERE event_id = $1 AND status IN ('pending', 'confirmed') AND id > $2
                       -- Some had read the event when it changed, and booked a moment later.
                       AND ($3 OR booked_at < $4::timestamptz + interval '1 minute')
               )
               SELECT b.id AS "id: BookingId", u.email IS NOT NULL AND u.email_verified_at IS NOT NULL AS "has_email!",
                      u.phone IS NOT NULL AND u.phone_verified_at IS NOT NULL AS "has_phone!"
               FROM (SELECT * FROM of_event ORDER BY id LIMIT $5) b JOIN users u ON u.id = b.user_id ORDER BY b.id"#,
            notice.event_id,
            notice.told_through,
            notice.kind == NoticeKind::Reminder,
            notice.changed_at,
            PAGE,
        )
        .fetch_all(&mut *conn)
        .await?,
    };
    let ids: Vec<BookingId> = bookings.iter().map(|booking| booking.id).collect();
    let others = delivery::other_owners(conn, &ids).await?;
    let mail = |booking_id, to| (EmailNotice { booking_id, notice_id: id, to }, traces::current());
    let mails = bookings.iter().filter(|booking| booking.has_email);
    let mails = mails.map(|booking| mail(booking.id, None));
    let mails = mails.chain(others.iter().map(|(booking, owner)| mail(*booking, Some(*owner))));
    jobs::enqueue_all(conn, &mails.collect::<Vec<_>>()).await?;
    // An SMS costs money, whoever is to blame.
    if notice.kind == NoticeKind::Change && notice.texts {
        let text =
            |booking_id, to| (SmsNotice { booking_id, notice_id: id, to }, traces::current());
        let texts = bookings.iter().filter(|booking| booking.has_phone);
        let texts = texts.map(|booking| text(booking.id, None));
        let texts = texts.chain(others.iter().map(|(booking, owner)| text(*booking, Some(*owner))));
        jobs::enqueue_all(conn, &texts.collect::<Vec<_>>()).await?;
    }
    let is_last = bookings.len() < PAGE as usize;
    sqlx::query!(
        "UPDATE event_notices SET begun_at = coalesce(begun_at, now()), told_through = coalesce($2, told_through),
             finished_at = CASE WHEN $3 THEN now() END
         WHERE id = $1",
        id as _,
        bookings.last().map(|booking| booking.id) as _,
        is_last,
    )
    .execute(conn)
    .await?;
    Ok(!is_last)
}

/// What a buyer is told about an event.
#[derive(Debug)]
pub struct Notice {
    pub kind: NoticeKind,
    pub user: UserId,
    pub reference: String,
    pub event_name: String,
    /// When and where it was.
    pub was: Occasion,
    /// When and where it is.
    pub is: Occasion,
    pub name: Option<String>,
    /// Only a proved address.
    pub email: Option<String>,
    /// Only a proved number.
    pub phone: Option<String>,
}

/// What is to be said about a booking.
#[derive(Debug)]
pub enum ToSay {
    /// Nothing any more: it is not confirmed, or what there was to say is not so now.
    Nothing,
    /// Its buyer may be about to pay.
    NothingYet,
    Notice(Box<Notice>),
}

/// What is to be said about a booking to its buyer, or to another owner of its tickets.
pub async fn notice(
    conn: &mut PgConnection,
    (booking, to): Portion,
    notice: NoticeId,
) -> Result<ToSay> {
    let row = sqlx::query!(
        r#"SELECT kind AS "kind: NoticeKind", b.status AS "status: BookingStatus", u.id AS "user: UserId", b.booking_reference, e.name AS event_name, u.name,
                  CASE WHEN u.email_verified_at IS NOT NULL THEN u.email END AS email,
                  CASE WHEN u.phone_verified_at IS NOT NULL THEN u.phone END AS phone,
                  n.start_date AS "was_start: Timestamp", n.time_zone AS "was_zone: TimeZone",
                  n.location AS was_location, n.venue_name AS was_venue,
                  e.start_date AS "start: Timestamp", e.time_zone AS "zone: TimeZone", e.location, e.venue_name,
                  EXISTS (SELECT 1 FROM tickets WHERE booking_id = b.id AND coalesce(owner_id, b.user_id) = u.id)
                      OR NOT EXISTS (SELECT 1 FROM tickets WHERE booking_id = b.id) AS "has_any!",
                  e.start_date > now() AS "is_ahead!", e.status = 'published' AND e.taken_down_at IS NULL AS "is_on!",
                  e.status = 'cancelled' OR e.taken_down_at IS NOT NULL OR e.end_date <= now() AS "is_off!"
           FROM bookings b JOIN event_notices n ON n.event_id = b.event_id JOIN events e ON e.id = b.event_id JOIN users u ON u.id = coalesce($3, b.user_id)
           WHERE b.id = $1 AND n.id = $2"#,
        booking as _,
        notice as _,
        to as _,
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(ToSay::Nothing) };
    let was = Occasion {
        start_date: row.was_start,
        time_zone: row.was_zone,
        location: row.was_location,
        venue_name: row.was_venue,
    };
    let is = Occasion {
        start_date: row.start,
        time_zone: row.zone,
        location: row.location,
        venue_name: row.venue_name,
    };
    // Who has given them all away need not come.
    let is_so = row.has_any
        && match row.kind {
            NoticeKind::Change => was != is && !row.is_off,
            NoticeKind::Reminder => was.start_date == is.start_date && row.is_ahead && row.is_on,
        };
    match row.status {
        BookingStatus::Confirmed if is_so => Ok(ToSay::Notice(Box::new(Notice {
            kind: row.kind,
            user: row.user,
            reference: row.booking_reference,
            event_name: row.event_name,
            was,
            is,
            name: row.name,
            email: row.email,
            phone: row.phone,
        }))),
        BookingStatus::Pending if is_so => Ok(ToSay::NothingYet),
        _ => Ok(ToSay::Nothing),
    }
}
