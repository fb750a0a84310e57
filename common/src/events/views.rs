//! Looking at events: lists, one event in detail, and its counts.

use serde::Serialize;
use sqlx::{PgConnection, types::Json};
use utoipa::ToSchema;

use super::stamps::{INCOMPLETE, Known, Look, split};
use crate::{
    error::{Error, Result},
    types::{
        ids::{EventId, UserId},
        page::Page,
        statuses::EventStatus,
        time::Timestamp,
        time_zone::TimeZone,
        visibility::{ShareCode, Visibility},
    },
};

/// An event in a list: seats that are neither free nor sold count as booked.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EventListItem {
    pub id: EventId,
    pub name: String,
    pub description: String,
    pub start_date: Timestamp,
    pub end_date: Timestamp,
    /// In which people are told its times.
    pub time_zone: TimeZone,
    pub image_url: Option<String>,
    pub location: String,
    pub venue_name: Option<String>,
    pub organizer_id: UserId,
    pub status: EventStatus,
    pub is_public: bool,
    pub max_tickets_per_user: i32,
    /// Only users with a verified phone number lock and book its seats; left out where all do.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub require_verified_phone: bool,
    /// Until when holders of its tickets can be named and tickets transferred, at most until it
    /// starts; left out where it says nothing, and that is until it starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub holders_until: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub organizer_name: Option<String>,
    /// Only [`EventDetail`] shows it, and only to the organiser.
    #[serde(skip)]
    organizer_email: Option<String>,
    /// The same.
    #[serde(skip)]
    share_code: Option<ShareCode>,
    #[serde(skip)]
    visibility: Visibility,
    pub total_seats: i64,
    pub available_seats: i64,
    pub booked_seats: i64,
}

/// One event in detail.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EventDetail {
    #[serde(flatten)]
    pub event: EventListItem,
    /// Percent, two decimals.
    pub occupancy_rate: String,
    /// Shown only to the organiser.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub organizer_email: Option<String>,
    /// Opens the event, while it is private, to those who have it. Shown only to the organiser.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub share_code: Option<ShareCode>,
}

impl EventListItem {
    /// Who may know of the event.
    pub fn visibility(&self) -> Visibility {
        self.visibility
    }
}

impl EventDetail {
    fn of(event: EventListItem) -> Self {
        let occupancy = match event.total_seats {
            0 => 0.0,
            total => event.booked_seats as f64 * 100.0 / total as f64,
        };
        EventDetail {
            occupancy_rate: format!("{occupancy:.2}"),
            organizer_email: None,
            share_code: None,
            event,
        }
    }

    /// The event as its organiser sees it.
    pub fn for_organizer(&self) -> Self {
        EventDetail {
            organizer_email: self.event.organizer_email.clone(),
            share_code: self.event.share_code,
            ..self.clone()
        }
    }
}

/// Which events a list shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListFilter {
    /// The caller filters for themselves: drafts and private events, too.
    pub own: bool,
    pub status: Option<EventStatus>,
    /// Only (not) public ones.
    pub is_public: Option<bool>,
    pub organizer: Option<UserId>,
}

/// What [`events`](fn@events) found.
#[derive(Debug)]
pub struct Events {
    /// What the lists of events were made of at the same moment.
    pub catalogue: Catalogue,
    /// Those that exist, in any order.
    pub found: Vec<Look<EventDetail>>,
}

/// Which events there are, in which order, and who sees them: lists have the same members for as
/// long as this is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Catalogue(i64);

/// Looks at events again: those that still are what the caller knows of them are not read. All at
/// one moment.
pub async fn events(conn: &mut PgConnection, known: &[Known]) -> Result<Events> {
    let (ids, stamps) = split(known);
    // OFFSET keeps the planner from reading every event before it compares the stamps.
    let rows = sqlx::query!(
        r#"SELECT c.changed_by::text::bigint AS "catalogue!", s.event_id AS "id?: EventId", s.stamp AS "stamp?",
                  changed.id IS NOT NULL AS "is_changed!",
                  name AS "name?", description AS "description?", start_date AS "start_date?: Timestamp", end_date AS "end_date?: Timestamp",
                  time_zone AS "time_zone?: TimeZone",
                  image_url AS "image_url?", location AS "location?", venue_name AS "venue_name?", organizer_id AS "organizer_id?: UserId",
                  status AS "status?: EventStatus", is_public AS "is_public?", max_tickets_per_user AS "max_tickets_per_user?",
                  require_verified_phone AS "require_verified_phone?", holders_until AS "holders_until?: Timestamp",
                  created_at AS "created_at?: Timestamp", updated_at AS "updated_at?: Timestamp", organizer_name AS "organizer_name?",
                  organizer_email AS "organizer_email?", share_code AS "share_code?: ShareCode", visibility AS "visibility?: Json<Visibility>",
                  total_seats AS "total_seats?", available_seats AS "available_seats?"
           FROM event_catalogue c
           LEFT JOIN (unnest($1::int[], $2::bigint[]) AS known (id, stamp) JOIN event_stamps s ON s.event_id = known.id) ON TRUE
           LEFT JOIN LATERAL (
               SELECT o.*, e.time_zone, e.require_verified_phone, e.holders_until, e.share_code, event_visibility(e) AS visibility FROM event_overview o JOIN events e ON e.id = o.id
               WHERE o.id = s.event_id AND s.stamp IS DISTINCT FROM known.stamp OFFSET 0
           ) changed ON TRUE"#,
        &ids as _,
        &stamps as _,
    )
    .fetch_all(conn)
    .await?;
    let catalogue = Catalogue(rows.first().map_or(0, |row| row.catalogue));
    let mut found = Vec::with_capacity(known.len());
    for row in rows {
        let (Some(id), Some(stamp)) = (row.id, row.stamp) else { continue };
        let event = || {
            Some(EventListItem {
                id,
                name: row.name?,
                description: row.description?,
                start_date: row.start_date?,
                end_date: row.end_date?,
                time_zone: row.time_zone?,
                image_url: row.image_url,
                location: row.location?,
                venue_name: row.venue_name,
                organizer_id: row.organizer_id?,
                status: row.status?,
                is_public: row.is_public?,
                max_tickets_per_user: row.max_tickets_per_user?,
                require_verified_phone: row.require_verified_phone?,
                holders_until: row.holders_until,
                created_at: row.created_at?,
                updated_at: row.updated_at?,
                organizer_name: row.organizer_name,
                organizer_email: row.organizer_email,
                share_code: row.share_code,
                visibility: row.visibility?.0,
                total_seats: row.total_seats?,
                available_seats: row.available_seats?,
                booked_seats: row.total_seats? - row.available_seats?,
            })
        };
        let changed = match row.is_changed {
            true => Some(EventDetail::of(event().ok_or_else(|| Error::internal(INCOMPLETE))?)),
            false => None,
        };
        found.push(Look { event: id, stamp: stamp.into(), changed });
    }
    Ok(Events { catalogue, found })
}

/// The events of a page, oldest first, and how many there are in all.
pub async fn list(
    conn: &mut PgConnection,
    filter: ListFilter,
    page: Page,
) -> Result<(Vec<EventId>, i64)> {
    let found = sqlx::query!(
        r#"WITH matching AS (
               SELECT id, created_at FROM events
               WHERE ($1::text IS NULL OR status = $1) AND ($2::boolean IS NULL OR is_public = $2)
                 AND ($3::integer IS NULL OR organizer_id = $3) AND ($4 OR (status = 'published' AND is_public AND taken_down_at IS NULL))
           )
           SELECT (SELECT count(*) FROM matching) AS "total!",
                  ARRAY (SELECT id FROM matching ORDER BY created_at, id LIMIT $5 OFFSET $6) AS "ids!: Vec<EventId>""#,
        filter.status as _,
        filter.is_public,
        filter.organizer as _,
        filter.own,
        page.limit,
        page.offset,
    )
    .fetch_one(conn)
    .await?;
    Ok((found.ids, found.total))
}
