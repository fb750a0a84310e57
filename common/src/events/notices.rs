//! What the buyers of an event are told, each once: that its date or place has changed, and, where
//! the installation wants it, that it is near. Begun here; the buyers are told by
//! [`bookings::event_notices`](crate::bookings::event_notices).

use std::time::Duration;

use sqlx::PgConnection;

use crate::{
    error::{Error, Result},
    jobs::{self, bookings::TellBuyers},
    observability::traces,
    types::{
        ids::{EventId, NoticeId},
        text_enum::text_enum,
        time::Timestamp,
        time_zone::TimeZone,
    },
};

/// The buyers of an event are told of changes no more often than this.
const BETWEEN: Duration = Duration::from_secs(3_600);

/// The same on its last day, when nobody can wait so long.
const BETWEEN_NEAR: Duration = Duration::from_secs(600);

text_enum! {
    /// Why buyers are told.
    pub enum NoticeKind {
        /// The date or the place has changed.
        Change = "change",
        /// The event is near.
        Reminder = "reminder",
    }
}

/// When and where an event is.
#[derive(Clone, Debug, PartialEq)]
pub struct Occasion {
    pub start_date: Timestamp,
    pub time_zone: TimeZone,
    pub location: String,
    pub venue_name: Option<String>,
}

impl Occasion {
    /// The start, in words.
    pub fn when(&self) -> String {
        self.time_zone.moment(self.start_date)
    }

    /// The venue, if there is one that is not the location, and the location.
    pub fn place(&self) -> String {
        match &self.venue_name {
            Some(venue) if *venue != self.location => format!("{venue}, {}", self.location),
            _ => self.location.clone(),
        }
    }
}

/// When and where an event is before it is changed, which nobody else does until the caller's
/// transaction ends.
pub(super) async fn before(conn: &mut PgConnection, event: EventId) -> Result<Occasion> {
    sqlx::query_as!(
        Occasion,
        r#"SELECT start_date, time_zone AS "time_zone: TimeZone", location, venue_name
           FROM events WHERE id = $1 FOR NO KEY UPDATE"#,
        event as _,
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::EventNotFound)
}

/// Has buyers told, if there are any, that the event is not as it was, unless it is over. They hear
/// what it was before the first of several changes that follow within `settles`, and whoever takes
/// a change back by then tells nobody.
pub(super) async fn changed(
    conn: &mut PgConnection,
    event: EventId,
    was: &Occasion,
    settles: Duration,
) -> Result<()> {
    let waits = sqlx::query_scalar!(
        r#"UPDATE event_notices SET changed_at = clock_timestamp() WHERE event_id = $1 AND kind = 'change' AND begun_at IS NULL
           RETURNING id AS "id: NoticeId""#,
        event as _,
    );
    if let Some(notice_id) = waits.fetch_optional(&mut *conn).await? {
        // It is under way, unless an operator has discarded it.
        jobs::enqueue_in(conn, &TellBuyers { notice_id }, settles).await?;
        return Ok(());
    }
    let notice = sqlx::query!(
        r#"INSERT INTO event_notices (event_id, kind, start_date, time_zone, location, venue_name, changed_at)
           SELECT $1, 'change', $2, $3, $4, $5, clock_timestamp() FROM events
           WHERE id = $1 AND end_date > now()
               AND EXISTS (SELECT 1 FROM bookings WHERE event_id = $1 AND status IN ('pending', 'confirmed'))
           RETURNING id AS "id: NoticeId",
               extract(epoch FROM clock_timestamp() - (SELECT max(begun_at) FROM event_notices
                                                       WHERE event_id = $1 AND kind = 'change'))::float8 AS since,
               (SELECT least(start_date, $2) < now() + interval '1 day' FROM events WHERE id = $1) AS "is_near!""#,
        event as _,
        was.start_date as _,
        was.time_zone as _,
        was.location,
        was.venue_name,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(notice) = notice else { return Ok(()) };
    let since = notice.since.map(|since| Duration::from_secs_f64(since.max(0.0)));
    let between = if notice.is_near { BETWEEN_NEAR } else { BETWEEN };
    let wait = since.map_or(settles, |since| settles.max(between.saturating_sub(since)));
    jobs::enqueue_in(conn, &TellBuyers { notice_id: notice.id }, wait).await?;
    Ok(())
}

/// Has the buyers of events that start within `ahead` reminded, unless they have been; of at most
/// 100 events at once. Returns how many.
pub async fn remind(conn: &mut PgConnection, ahead: Duration) -> Result<usize> {
    let notices = sqlx::query_scalar!(
        r#"INSERT INTO event_notices (event_id, kind, start_date, time_zone, location, venue_name)
           SELECT id, 'reminder', start_date, time_zone, location, venue_name FROM events e
           WHERE start_date BETWEEN now() AND now() + $1 AND status = 'published' AND taken_down_at IS NULL
               AND NOT EXISTS (SELECT 1 FROM event_notices n
                               WHERE n.event_id = e.id AND n.start_date = e.start_date AND n.kind = 'reminder')
           ORDER BY start_date LIMIT 100
           ON CONFLICT (event_id, start_date) WHERE kind = 'reminder' DO NOTHING
           RETURNING id AS "id: NoticeId""#,
        crate::storage::postgres::interval(ahead)?,
    )
    .fetch_all(&mut *conn)
    .await?;
    let tell = |notice_id: &NoticeId| (TellBuyers { notice_id: *notice_id }, traces::current());
    let jobs: Vec<_> = notices.iter().map(tell).collect();
    jobs::enqueue_all(conn, &jobs).await?;
    Ok(notices.len())
}
