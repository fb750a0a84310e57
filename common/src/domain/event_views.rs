//! Looking at events: lists, one event closely, and what is left of its seats.

use serde::Serialize;
use sqlx::PgConnection;

use super::{
    events::{Event, EventStatus, EventUpdated},
    ids::{EventId, SeatTypeId, UserId},
    input::{Input, Page},
};
use crate::error::{Error, Result};

/// An event in a list: seats that are neither free nor sold count as booked.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct EventListItem {
    #[serde(flatten)]
    pub event: EventUpdated,
    pub total_seats: i64,
    pub available_seats: i64,
    pub booked_seats: i64,
}

/// One event, looked at closely.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct EventDetail {
    #[serde(flatten)]
    pub event: EventListItem,
    /// Percent, two decimals.
    pub occupancy_rate: String,
    /// The organiser's own, shown to nobody else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organizer_email: Option<String>,
}

/// Which events a list shows.
#[derive(Debug)]
pub struct ListFilter {
    /// Who asks; organisers see their own drafts and private events when they filter for themselves.
    pub viewer: Option<UserId>,
    /// Only this status.
    pub status: Option<String>,
    /// Only (not) public ones.
    pub is_public: Option<bool>,
    /// Only this organiser's.
    pub organizer: Option<UserId>,
}

impl ListFilter {
    /// Reads query parameters as the Node service did: what is not a number is no filter.
    pub fn parse(input: &Input, viewer: Option<UserId>) -> Self {
        ListFilter {
            viewer,
            status: input.filled("status").map(str::to_owned),
            is_public: input.text("is_public").map(|text| text == "true"),
            organizer: input.id("organizer_id"),
        }
    }
}

/// A page of events, oldest first, and how many there are in all.
pub async fn list(
    conn: &mut PgConnection,
    filter: &ListFilter,
    page: Page,
) -> Result<(Vec<EventListItem>, i64)> {
    let own = filter.viewer.is_some() && filter.viewer == filter.organizer;
    let rows = sqlx::query!(
        r#"SELECT e.id, e.name, e.description, e.start_date, e.end_date, e.image_url, e.location, e.venue_name, e.organizer_id, e.status,
                  e.is_public, coalesce(e.max_tickets_per_user, 10) AS "max_tickets!", e.created_at AS "created_at!",
                  e.updated_at AS "updated_at!", u.name AS organizer_name,
                  coalesce(seats.total, 0) AS "total!", coalesce(seats.available, 0) AS "available!", count(*) OVER () AS "events!"
           FROM events e
           JOIN users u ON u.id = e.organizer_id
           LEFT JOIN LATERAL (
               SELECT sum(quantity) AS total, sum(available) AS available FROM seat_availability WHERE event_id = e.id
           ) seats ON TRUE
           WHERE ($1::text IS NULL OR e.status = $1) AND ($2::boolean IS NULL OR e.is_public = $2)
             AND ($3::integer IS NULL OR e.organizer_id = $3) AND ($4 OR (e.status = 'published' AND e.is_public))
           ORDER BY e.created_at, e.id LIMIT $5 OFFSET $6"#,
        filter.status,
        filter.is_public,
        filter.organizer.map(|id| id.0),
        own,
        page.limit,
        page.offset,
    )
    .fetch_all(&mut *conn)
    .await?;
    let total = match rows.first() {
        Some(row) => row.events,
        // A page past the end has no row to count with.
        None => sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM events e
               WHERE ($1::text IS NULL OR e.status = $1) AND ($2::boolean IS NULL OR e.is_public = $2)
                 AND ($3::integer IS NULL OR e.organizer_id = $3) AND ($4 OR (e.status = 'published' AND e.is_public))"#,
            filter.status,
            filter.is_public,
            filter.organizer.map(|id| id.0),
            own,
        )
        .fetch_one(conn)
        .await?,
    };
    let items = rows
        .into_iter()
        .map(|row| EventListItem {
            event: EventUpdated {
                event: Event {
                    id: EventId(row.id),
                    name: row.name,
                    description: row.description,
                    start_date: row.start_date.into(),
                    end_date: row.end_date.into(),
                    image_url: row.image_url,
                    location: row.location,
                    venue_name: row.venue_name,
                    organizer_id: UserId(row.organizer_id),
                    status: row.status,
                    is_public: row.is_public,
                    max_tickets_per_user: row.max_tickets,
                    created_at: row.created_at.into(),
                },
                updated_at: row.updated_at.into(),
                organizer_name: row.organizer_name,
            },
            total_seats: row.total,
            available_seats: row.available,
            booked_seats: row.total - row.available,
        })
        .collect();
    Ok((items, total))
}

/// One event. Drafts and private events exist for their organiser only.
pub async fn get(conn: &mut PgConnection, id: EventId, viewer: Option<UserId>) -> Result<EventDetail> {
    let row = sqlx::query!(
        r#"SELECT e.name, e.description, e.start_date, e.end_date, e.image_url, e.location, e.venue_name, e.organizer_id, e.status,
                  e.is_public, coalesce(e.max_tickets_per_user, 10) AS "max_tickets!", e.created_at AS "created_at!",
                  e.updated_at AS "updated_at!", u.name AS organizer_name, u.email AS organizer_email,
                  coalesce(seats.total, 0) AS "total!", coalesce(seats.available, 0) AS "available!"
           FROM events e
           JOIN users u ON u.id = e.organizer_id
           LEFT JOIN LATERAL (
               SELECT sum(quantity) AS total, sum(available) AS available FROM seat_availability WHERE event_id = e.id
           ) seats ON TRUE
           WHERE e.id = $1"#,
        id.0,
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::EventNotFound)?;
    let is_organizer = viewer == Some(UserId(row.organizer_id));
    if !is_organizer && (row.status == EventStatus::Draft.name() || !row.is_public) {
        return Err(Error::EventNotFound);
    }
    let taken = row.total - row.available;
    let occupancy = if row.total == 0 { 0.0 } else { taken as f64 * 100.0 / row.total as f64 };
    Ok(EventDetail {
        event: EventListItem {
            event: EventUpdated {
                event: Event {
                    id,
                    name: row.name,
                    description: row.description,
                    start_date: row.start_date.into(),
                    end_date: row.end_date.into(),
                    image_url: row.image_url,
                    location: row.location,
                    venue_name: row.venue_name,
                    organizer_id: UserId(row.organizer_id),
                    status: row.status,
                    is_public: row.is_public,
                    max_tickets_per_user: row.max_tickets,
                    created_at: row.created_at.into(),
                },
                updated_at: row.updated_at.into(),
                organizer_name: row.organizer_name,
            },
            total_seats: row.total,
            available_seats: row.available,
            booked_seats: taken,
        },
        occupancy_rate: format!("{occupancy:.2}"),
        organizer_email: row.organizer_email.filter(|_| is_organizer),
    })
}

/// The counts of an event's seat types, with the version that orders them.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct SeatCounts {
    pub event_id: EventId,
    pub version: i64,
    pub seat_types: Vec<SeatCount>,
}

/// What is left of one seat type.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct SeatCount {
    pub seat_type_id: SeatTypeId,
    pub quantity: i32,
    pub available_quantity: i32,
}

/// The counts of an event's seat types now.
pub async fn seat_counts(conn: &mut PgConnection, event: EventId) -> Result<SeatCounts> {
    // One statement, so that counts and version belong together.
    let rows = sqlx::query!(
        r#"SELECT coalesce(i.version, 0) AS "version!", a.seat_type_id AS "seat_type_id!", a.quantity AS "quantity!",
                  a.available AS "available!"
           FROM seat_availability a LEFT JOIN event_inventory i ON i.event_id = a.event_id
           WHERE a.event_id = $1 ORDER BY a.seat_type_id"#,
        event.0,
    )
    .fetch_all(conn)
    .await?;
    Ok(SeatCounts {
        event_id: event,
        version: rows.first().map_or(0, |row| row.version),
        seat_types: rows
            .into_iter()
            .map(|row| SeatCount {
                seat_type_id: SeatTypeId(row.seat_type_id),
                quantity: row.quantity,
                available_quantity: row.available,
            })
            .collect(),
    })
}
