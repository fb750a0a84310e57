//! Looking at events: lists, one event in detail, and its counts.

use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::event::require_visible;
use crate::{
    error::{Error, Result},
    types::{
        ids::{EventId, UserId},
        page::Page,
        statuses::EventStatus,
        time::Timestamp,
    },
};

/// An event in a list: seats that are neither free nor sold count as booked.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventListItem {
    pub id: EventId,
    pub name: String,
    pub description: String,
    pub start_date: Timestamp,
    pub end_date: Timestamp,
    pub image_url: Option<String>,
    pub location: String,
    pub venue_name: Option<String>,
    pub organizer_id: UserId,
    pub status: EventStatus,
    pub is_public: bool,
    pub max_tickets_per_user: i32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub organizer_name: Option<String>,
    /// Only [`EventDetail`] shows it, and only to the organiser.
    #[serde(skip)]
    organizer_email: Option<String>,
    pub total_seats: i64,
    pub available_seats: i64,
    pub booked_seats: i64,
}

/// One event in detail.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventDetail {
    #[serde(flatten)]
    pub event: EventListItem,
    /// Percent, two decimals.
    pub occupancy_rate: String,
    /// Shown only to the organiser.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub organizer_email: Option<String>,
}

/// Which events a list shows.
#[derive(Debug)]
pub struct ListFilter {
    /// The caller; organisers see their own drafts and private events when they filter for
    /// themselves.
    pub viewer: Option<UserId>,
    pub status: Option<String>,
    /// Only (not) public ones.
    pub is_public: Option<bool>,
    pub organizer: Option<UserId>,
}

/// A page of events, oldest first, and how many there are in all.
pub async fn list(
    conn: &mut PgConnection,
    filter: &ListFilter,
    page: Page,
) -> Result<(Vec<EventListItem>, i64)> {
    let own = filter.viewer.is_some() && filter.viewer == filter.organizer;
    let found = sqlx::query!(
        r#"WITH matching AS (
               SELECT id, created_at FROM events
               WHERE ($1::text IS NULL OR status = $1) AND ($2::boolean IS NULL OR is_public = $2)
                 AND ($3::integer IS NULL OR organizer_id = $3) AND ($4 OR (status = 'published' AND is_public))
           )
           SELECT (SELECT count(*) FROM matching) AS "total!",
                  ARRAY (SELECT id FROM matching ORDER BY created_at, id LIMIT $5 OFFSET $6) AS "ids!: Vec<EventId>""#,
        filter.status,
        filter.is_public,
        filter.organizer as _,
        own,
        page.limit,
        page.offset,
    )
    .fetch_one(&mut *conn)
    .await?;
    Ok((overview(conn, &found.ids).await?, found.total))
}

/// One event, if `viewer` may know of it.
pub async fn get(
    conn: &mut PgConnection,
    id: EventId,
    viewer: Option<UserId>,
) -> Result<EventDetail> {
    require_visible(conn, id, viewer).await?;
    let mut event = overview(conn, &[id]).await?.pop().ok_or(Error::EventNotFound)?;
    let is_organizer = viewer == Some(event.organizer_id);
    let occupancy = match event.total_seats {
        0 => 0.0,
        total => event.booked_seats as f64 * 100.0 / total as f64,
    };
    Ok(EventDetail {
        occupancy_rate: format!("{occupancy:.2}"),
        organizer_email: event.organizer_email.take().filter(|_| is_organizer),
        event,
    })
}

/// These events, oldest first.
async fn overview(conn: &mut PgConnection, ids: &[EventId]) -> Result<Vec<EventListItem>> {
    let events = sqlx::query_as!(
        EventListItem,
        r#"SELECT id AS "id!", name AS "name!", description AS "description!", start_date AS "start_date!", end_date AS "end_date!",
                  image_url, location AS "location!", venue_name, organizer_id AS "organizer_id!", status AS "status!: _",
                  is_public AS "is_public!", max_tickets_per_user AS "max_tickets_per_user!", created_at AS "created_at!",
                  updated_at AS "updated_at!", organizer_name, organizer_email, total_seats AS "total_seats!",
                  available_seats AS "available_seats!", total_seats - available_seats AS "booked_seats!"
           FROM event_overview WHERE id = ANY ($1) ORDER BY created_at, id"#,
        ids as _,
    )
    .fetch_all(conn)
    .await?;
    Ok(events)
}
