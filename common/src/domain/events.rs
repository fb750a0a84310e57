//! Events: what organisers create and everybody looks at (CONTRACT.md, section 3).

use serde::Serialize;
use sqlx::PgConnection;

use super::{
    ids::{EventId, SeatTypeId, UserId},
    input::{Input, Page},
    money::Paise,
    seat_types::{self, NewSeatType},
    time::Timestamp,
};
use crate::error::{Error, Result, violated_constraint};

/// What state an event is in; only `Published` ones are on sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum EventStatus {
    Draft,
    Published,
    Cancelled,
    Completed,
}

impl EventStatus {
    /// The status of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Draft, Self::Published, Self::Cancelled, Self::Completed]
            .into_iter()
            .find(|s| s.name() == name)
    }

    /// As stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            EventStatus::Draft => "draft",
            EventStatus::Published => "published",
            EventStatus::Cancelled => "cancelled",
            EventStatus::Completed => "completed",
        }
    }
}

/// An event.
#[derive(Debug, Serialize)]
#[allow(missing_docs)] // columns of `events`
pub struct Event {
    pub id: EventId,
    pub name: String,
    pub description: String,
    pub start_date: Timestamp,
    pub end_date: Timestamp,
    pub image_url: Option<String>,
    pub location: String,
    pub venue_name: Option<String>,
    pub organizer_id: UserId,
    pub status: String,
    pub is_public: bool,
    pub max_tickets_per_user: i32,
    pub created_at: Timestamp,
}

/// An event with what lists and updates show.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct EventUpdated {
    #[serde(flatten)]
    pub event: Event,
    pub updated_at: Timestamp,
    pub organizer_name: Option<String>,
}

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

/// A new event, every rule checked.
#[derive(Debug)]
#[allow(missing_docs)] // columns of `events`
pub struct NewEvent {
    pub name: String,
    pub description: String,
    pub start_date: Timestamp,
    pub end_date: Timestamp,
    pub location: String,
    pub image_url: Option<String>,
    pub venue_name: Option<String>,
    pub status: EventStatus,
    pub is_public: bool,
    pub max_tickets_per_user: i32,
    pub seat_types: Vec<NewSeatType>,
}

impl NewEvent {
    /// Reads a request.
    pub fn parse(input: &Input) -> Result<Self> {
        let missing = || {
            Error::invalid(
                "Missing required fields: name, description, start_date, end_date, location, organizer_id",
            )
        };
        let required = |name| input.filled(name).ok_or_else(missing);
        let (name, description) = (required("name")?, required("description")?);
        let (start, end) = (required("start_date")?, required("end_date")?);
        let location = required("location")?;
        let seat_types = match input.list("seat_types") {
            Some(types) if !types.is_empty() => types,
            _ => return Err(Error::invalid("At least one seat type is required")),
        };
        if seat_types.len() > 100 {
            return Err(Error::invalid("An event can have at most 100 seat types"));
        }
        let seat_types = seat_types
            .iter()
            .enumerate()
            .map(|(index, value)| NewSeatType::parse_nth(&Input::from(value.clone()), index + 1))
            .collect::<Result<Vec<_>>>()?;
        let (start_date, end_date) = dates(start, end)?;
        Ok(NewEvent {
            name: bounded("name", name, 255)?,
            description: bounded("description", description, 20_000)?,
            start_date,
            end_date,
            location: bounded("location", location, 255)?,
            image_url: optional(input, "image_url", 2_000)?,
            venue_name: optional(input, "venue_name", 255)?,
            status: status(input)?.unwrap_or(EventStatus::Published),
            is_public: is_public(input)?.unwrap_or(true),
            max_tickets_per_user: max_tickets(input)?.unwrap_or(10),
            seat_types,
        })
    }
}

/// The fields of an event that a request changes.
#[derive(Debug, Default)]
#[allow(missing_docs)] // columns of `events`
pub struct EventChanges {
    pub name: Option<String>,
    pub description: Option<String>,
    pub start_date: Option<Timestamp>,
    pub end_date: Option<Timestamp>,
    pub location: Option<String>,
    /// `Some(None)` removes it.
    pub image_url: Option<Option<String>>,
    /// `Some(None)` removes it.
    pub venue_name: Option<Option<String>>,
    pub status: Option<EventStatus>,
    pub is_public: Option<bool>,
    pub max_tickets_per_user: Option<i32>,
}

impl EventChanges {
    /// Reads a request; fields that it does not know do not count.
    pub fn parse(input: &Input) -> Result<Self> {
        const KNOWN: [&str; 10] = [
            "name",
            "description",
            "start_date",
            "end_date",
            "location",
            "image_url",
            "venue_name",
            "status",
            "is_public",
            "max_tickets_per_user",
        ];
        if !KNOWN.iter().any(|field| input.was_sent(field)) {
            return Err(Error::invalid("No fields to update"));
        }
        let text = |name: &'static str, longest| match input.get(name) {
            None => Ok(None),
            Some(value) => match value.as_str().map(str::trim).filter(|text| !text.is_empty()) {
                Some(text) => bounded(name, text, longest).map(Some),
                None => Err(Error::invalid(format!("{name} must not be empty"))),
            },
        };
        let date = |name: &'static str| match input.get(name) {
            None => Ok(None),
            Some(value) => value
                .as_str()
                .and_then(Timestamp::parse)
                .map(Some)
                .ok_or_else(|| Error::invalid(format!("{name} is not a valid date"))),
        };
        let removable = |name: &'static str, longest| {
            input.was_sent(name).then(|| optional(input, name, longest)).transpose()
        };
        Ok(EventChanges {
            name: text("name", 255)?,
            description: text("description", 20_000)?,
            start_date: date("start_date")?,
            end_date: date("end_date")?,
            location: text("location", 255)?,
            image_url: removable("image_url", 2_000)?,
            venue_name: removable("venue_name", 255)?,
            status: status(input)?,
            is_public: is_public(input)?,
            max_tickets_per_user: max_tickets(input)?,
        })
    }
}

fn bounded(field: &str, text: &str, longest: usize) -> Result<String> {
    if text.chars().count() > longest {
        return Err(Error::invalid(format!("{field} must be at most {longest} characters long")));
    }
    Ok(text.to_owned())
}

fn optional(input: &Input, field: &str, longest: usize) -> Result<Option<String>> {
    input.filled(field).map(|text| bounded(field, text, longest)).transpose()
}

fn dates(start: &str, end: &str) -> Result<(Timestamp, Timestamp)> {
    let parse = |field, text| {
        Timestamp::parse(text).ok_or_else(|| Error::invalid(format!("{field} is not a valid date")))
    };
    let (start, end) = (parse("start_date", start)?, parse("end_date", end)?);
    if end < start { Err(ends_before_it_starts()) } else { Ok((start, end)) }
}

fn ends_before_it_starts() -> Error {
    Error::invalid("end_date must not be before start_date")
}

fn status(input: &Input) -> Result<Option<EventStatus>> {
    input
        .get("status")
        .map(|value| {
            value
                .as_str()
                .and_then(EventStatus::parse)
                .ok_or_else(|| Error::invalid("status must be one of draft, published, cancelled, completed"))
        })
        .transpose()
}

fn is_public(input: &Input) -> Result<Option<bool>> {
    input.truth("is_public").transpose().map_err(|()| Error::invalid("is_public must be true or false"))
}

fn max_tickets(input: &Input) -> Result<Option<i32>> {
    // Zero meant "the default" in the Node service.
    match input.get("max_tickets_per_user").map(|_| input.whole("max_tickets_per_user")) {
        None | Some(Some(0)) => Ok(None),
        Some(Some(most @ 1..=10_000)) => Ok(Some(most as i32)),
        Some(_) => Err(Error::invalid("max_tickets_per_user must be between 1 and 10000")),
    }
}

/// Creates an event and its seat types.
pub async fn create(
    conn: &mut PgConnection,
    organizer: UserId,
    new: &NewEvent,
) -> Result<(Event, Vec<CreatedSeatType>)> {
    let inserted = sqlx::query!(
        r#"INSERT INTO events (name, description, start_date, end_date, image_url, location, venue_name, organizer_id, status, is_public,
                               max_tickets_per_user)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
           RETURNING id, created_at AS "created_at!""#,
        new.name,
        new.description,
        new.start_date.0,
        new.end_date.0,
        new.image_url,
        new.location,
        new.venue_name,
        organizer.0,
        new.status.name(),
        new.is_public,
        new.max_tickets_per_user,
    )
    .fetch_one(&mut *conn)
    .await;
    let row = match inserted {
        // The token outlived its user.
        Err(error) if violated_constraint(&error) == Some("events_organizer_id_fkey") => {
            return Err(Error::TokenInvalid);
        }
        other => other?,
    };
    let event = Event {
        id: EventId(row.id),
        name: new.name.clone(),
        description: new.description.clone(),
        start_date: new.start_date,
        end_date: new.end_date,
        image_url: new.image_url.clone(),
        location: new.location.clone(),
        venue_name: new.venue_name.clone(),
        organizer_id: organizer,
        status: new.status.name().to_owned(),
        is_public: new.is_public,
        max_tickets_per_user: new.max_tickets_per_user,
        created_at: row.created_at.into(),
    };
    let mut created = Vec::with_capacity(new.seat_types.len());
    for seat_type in &new.seat_types {
        let stored = seat_types::insert(conn, event.id, seat_type).await?;
        created.push(CreatedSeatType {
            id: stored.id,
            name: stored.name,
            description: stored.description,
            price: stored.price,
            quantity: stored.quantity,
            available_quantity: stored.available_quantity,
            display_order: stored.display_order,
        });
    }
    Ok((event, created))
}

/// A seat type as event creation shows it.
#[derive(Debug, Serialize)]
#[allow(missing_docs)] // columns of `event_seat_types`
pub struct CreatedSeatType {
    pub id: SeatTypeId,
    pub name: String,
    pub description: Option<String>,
    pub price: Paise,
    pub quantity: i32,
    pub available_quantity: i32,
    pub display_order: i32,
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

/// Refuses everybody but the event's organiser; `doing` completes "You are not authorized to …". Returns whether others know the event.
pub async fn require_organizer(
    conn: &mut PgConnection,
    event: EventId,
    user: UserId,
    doing: &'static str,
) -> Result<bool> {
    let row = sqlx::query!(
        r#"SELECT organizer_id, is_public AND status <> 'draft' AS "visible!" FROM events WHERE id = $1"#,
        event.0
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::EventNotFound)?;
    if row.organizer_id == user.0 { Ok(row.visible) } else { Err(Error::Forbidden(doing)) }
}

/// Changes an event, for its organiser. Also returns whether anybody else knows of it, before or after.
pub async fn update(
    conn: &mut PgConnection,
    id: EventId,
    user: UserId,
    changes: &EventChanges,
) -> Result<(EventUpdated, bool)> {
    let was_visible = require_organizer(conn, id, user, "update this event").await?;
    let updated = sqlx::query!(
        r#"UPDATE events e SET
               name = coalesce($2, e.name),
               description = coalesce($3, e.description),
               start_date = coalesce($4, e.start_date),
               end_date = coalesce($5, e.end_date),
               location = coalesce($6, e.location),
               image_url = CASE WHEN $7 THEN $8 ELSE e.image_url END,
               venue_name = CASE WHEN $9 THEN $10 ELSE e.venue_name END,
               status = coalesce($11, e.status),
               is_public = coalesce($12, e.is_public),
               max_tickets_per_user = coalesce($13, e.max_tickets_per_user),
               updated_at = now()
           FROM users u
           WHERE e.id = $1 AND u.id = e.organizer_id
           RETURNING e.name, e.description, e.start_date, e.end_date, e.image_url, e.location, e.venue_name, e.organizer_id, e.status,
                     e.is_public, coalesce(e.max_tickets_per_user, 10) AS "max_tickets!", e.created_at AS "created_at!",
                     e.updated_at AS "updated_at!", u.name AS organizer_name"#,
        id.0,
        changes.name,
        changes.description,
        changes.start_date.map(|time| time.0),
        changes.end_date.map(|time| time.0),
        changes.location,
        changes.image_url.is_some(),
        changes.image_url.clone().flatten(),
        changes.venue_name.is_some(),
        changes.venue_name.clone().flatten(),
        changes.status.map(EventStatus::name),
        changes.is_public,
        changes.max_tickets_per_user,
    )
    .fetch_optional(conn)
    .await;
    let row = match updated {
        Err(error) if violated_constraint(&error) == Some("events_dates_check") => {
            return Err(ends_before_it_starts());
        }
        other => other?.ok_or(Error::EventNotFound)?,
    };
    let is_visible = row.is_public && row.status != EventStatus::Draft.name();
    let event = EventUpdated {
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
    };
    Ok((event, was_visible || is_visible))
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
