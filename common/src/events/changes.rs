//! Events: what organisers create and change (docs/contract.md#events). [`views`](super::views) has
//! what everyone sees.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{
    cancellation,
    event::{Event, EventUpdated, require_organizer},
    notices,
    seat_types::{self, NewSeatType},
};
use crate::{
    error::{Error, Result, violated_constraint},
    realtime::Audience,
    types::{
        ids::{EventId, SeatTypeId, UserId},
        money::Paise,
        statuses::EventStatus,
        time::Timestamp,
        time_zone::TimeZone,
    },
};

/// A new event; every rule is checked.
#[derive(Debug)]
pub struct NewEvent {
    pub name: String,
    pub description: String,
    pub start_date: Timestamp,
    pub end_date: Timestamp,
    pub time_zone: TimeZone,
    pub location: String,
    pub image_url: Option<String>,
    pub venue_name: Option<String>,
    pub status: EventStatus,
    pub is_public: bool,
    pub max_tickets_per_user: i32,
    pub require_verified_phone: bool,
    pub holders_until: Option<Timestamp>,
    pub seat_types: Vec<NewSeatType>,
}

/// The fields of an event that a request changes.
#[derive(Debug, Default, PartialEq)]
pub struct EventChanges {
    pub name: Option<String>,
    pub description: Option<String>,
    pub start_date: Option<Timestamp>,
    pub end_date: Option<Timestamp>,
    pub time_zone: Option<TimeZone>,
    pub location: Option<String>,
    /// `Some(None)` removes it.
    pub image_url: Option<Option<String>>,
    /// `Some(None)` removes it.
    pub venue_name: Option<Option<String>>,
    pub status: Option<EventStatus>,
    pub is_public: Option<bool>,
    pub max_tickets_per_user: Option<i32>,
    pub require_verified_phone: Option<bool>,
    /// `Some(None)` removes it.
    pub holders_until: Option<Option<Timestamp>>,
    /// The share code so far opens nothing any more.
    pub new_share_code: bool,
}

impl EventChanges {
    /// Whether they do nothing but cancel the event.
    fn only_cancels(&self) -> bool {
        let only = EventChanges { status: Some(EventStatus::Cancelled), ..Default::default() };
        *self == only
    }

    /// Whether it may begin at another time, or be at another place, than before.
    fn moves(&self) -> bool {
        self.start_date.is_some()
            || self.time_zone.is_some()
            || self.location.is_some()
            || self.venue_name.is_some()
    }

    /// Which fields it changes, and the words of those that say who sees the event.
    pub fn fields(&self) -> Value {
        let changed = [
            ("name", self.name.is_some()),
            ("description", self.description.is_some()),
            ("start_date", self.start_date.is_some()),
            ("end_date", self.end_date.is_some()),
            ("time_zone", self.time_zone.is_some()),
            ("location", self.location.is_some()),
            ("image_url", self.image_url.is_some()),
            ("venue_name", self.venue_name.is_some()),
            ("max_tickets_per_user", self.max_tickets_per_user.is_some()),
            ("require_verified_phone", self.require_verified_phone.is_some()),
            ("holders_until", self.holders_until.is_some()),
            ("share_code", self.new_share_code),
        ];
        let fields =
            changed.into_iter().filter_map(|(name, is_changed)| is_changed.then_some(name));
        json!({
            "fields": fields.collect::<Vec<_>>(),
            "status": self.status,
            "is_public": self.is_public,
        })
    }
}

/// An event cannot end before it starts (docs/contract.md#change-13).
pub fn ends_before_it_starts() -> Error {
    Error::invalid("end_date must not be before start_date")
}

/// Whether an image is loaded without anybody in between being able to read or replace it, and by
/// nothing but a request for it.
fn is_https(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_at_checked("https://".len()) else { return false };
    let odd = |c: char| c.is_whitespace() || "\"<>\\^`{|}".contains(c);
    scheme.eq_ignore_ascii_case("https://")
        && !rest.contains(odd)
        && rest.chars().next().is_some_and(|first| !"/?#:@".contains(first))
}

fn not_https() -> Error {
    Error::invalid("image_url must begin with https://")
}

/// Refuses another event to a user who has `most` or more. Of those whom one user asks for at the
/// same time, each is counted before the next is decided: until this transaction ends, the others
/// wait.
pub async fn require_room(conn: &mut PgConnection, organizer: UserId, most: i64) -> Result<()> {
    // The user may have been deleted since their token was checked. Who erases the account meanwhile
    // waits for this, or is waited for, and then nobody is left who could answer for the event.
    sqlx::query!(
        "SELECT id FROM users WHERE id = $1 AND erased_at IS NULL FOR NO KEY UPDATE",
        organizer as _,
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or(Error::TokenInvalid)?;
    // A separate statement sees those that were committed while this one waited; it counts no
    // further than it needs to.
    let events = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM (SELECT FROM events WHERE organizer_id = $1 LIMIT $2) own"#,
        organizer as _,
        most,
    )
    .fetch_one(conn)
    .await?;
    if events < most { Ok(()) } else { Err(Error::EventLimit(most)) }
}

/// Creates an event and its seat types.
pub async fn create(
    conn: &mut PgConnection,
    organizer: UserId,
    new: &NewEvent,
) -> Result<(Event, Vec<CreatedSeatType>)> {
    if new.image_url.as_deref().is_some_and(|url| !is_https(url)) {
        return Err(not_https());
    }
    let event = sqlx::query_as!(
        Event,
        r#"INSERT INTO events (name, description, start_date, end_date, image_url, location, venue_name, organizer_id, status, is_public,
                               max_tickets_per_user, require_verified_phone, time_zone, holders_until)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
           RETURNING id, name, description, start_date, end_date, time_zone AS "time_zone: _", image_url, location, venue_name, organizer_id, status AS "status: _",
                     is_public, max_tickets_per_user AS "max_tickets_per_user!", require_verified_phone, holders_until AS "holders_until: _", created_at AS "created_at!""#,
        new.name,
        new.description,
        new.start_date as _,
        new.end_date as _,
        new.image_url,
        new.location,
        new.venue_name,
        organizer as _,
        new.status as _,
        new.is_public,
        new.max_tickets_per_user,
        new.require_verified_phone,
        new.time_zone as _,
        new.holders_until as _,
    )
    .fetch_one(&mut *conn)
    .await?;
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
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CreatedSeatType {
    pub id: SeatTypeId,
    pub name: String,
    pub description: Option<String>,
    pub price: Paise,
    pub quantity: i32,
    pub available_quantity: i32,
    pub display_order: i32,
}

/// Changes an event, for its organiser, and has its buyers told of another date or place once that
/// has been so for a while (`settles`). Also returns who hears of the change, and what: if the
/// event is now hidden, everyone but its organiser hears only that.
pub async fn update(
    conn: &mut PgConnection,
    id: EventId,
    user: UserId,
    changes: &EventChanges,
    settles: Duration,
) -> Result<(EventUpdated, Vec<(Audience, EventUpdated)>)> {
    let own = require_organizer(conn, id, user, "update this event").await?;
    let before = match own.is_down && changes.only_cancels() {
        // Its buyers get their money back.
        true => Audience::User(user),
        false => own.audience()?,
    };
    if let Some(Some(url)) = &changes.image_url
        && !is_https(url)
    {
        // Clients send a whole event back, with what it had before there was this rule.
        let present = sqlx::query_scalar!("SELECT image_url FROM events WHERE id = $1", id as _);
        if present.fetch_optional(&mut *conn).await?.flatten().as_ref() != Some(url) {
            return Err(not_https());
        }
    }
    require_ahead(conn, id, changes).await?;
    let hides = changes.is_public == Some(false) || changes.status == Some(EventStatus::Draft);
    let known = match before {
        Audience::Everyone if hides => Some(current(conn, id).await?),
        _ => None,
    };
    if let Some(status) = changes.status {
        cancellation::prepare(conn, id, status).await?;
    }
    let was = match changes.moves() {
        true => Some(notices::before(conn, id).await?),
        false => None,
    };
    let updated = sqlx::query!(
        "UPDATE events SET
             name = coalesce($2, name),
             description = coalesce($3, description),
             start_date = coalesce($4, start_date),
             end_date = coalesce($5, end_date),
             location = coalesce($6, location),
             image_url = CASE WHEN $7 THEN $8 ELSE image_url END,
             venue_name = CASE WHEN $9 THEN $10 ELSE venue_name END,
             status = coalesce($11, status),
             is_public = coalesce($12, is_public),
             max_tickets_per_user = coalesce($13, max_tickets_per_user),
             require_verified_phone = coalesce($14, require_verified_phone),
             share_code = CASE WHEN $15 THEN gen_random_uuid() ELSE share_code END,
             time_zone = coalesce($16, time_zone),
             holders_until = CASE WHEN $17 THEN $18 ELSE holders_until END,
             updated_at = now()
         WHERE id = $1",
        id as _,
        changes.name,
        changes.description,
        changes.start_date as _,
        changes.end_date as _,
        changes.location,
        changes.image_url.is_some(),
        changes.image_url.clone().flatten(),
        changes.venue_name.is_some(),
        changes.venue_name.clone().flatten(),
        changes.status as _,
        changes.is_public,
        changes.max_tickets_per_user,
        changes.require_verified_phone,
        changes.new_share_code,
        changes.time_zone as _,
        changes.holders_until.is_some(),
        changes.holders_until.flatten() as _,
    )
    .execute(&mut *conn)
    .await;
    match updated {
        Err(error) if violated_constraint(&error) == Some("events_dates_check") => {
            return Err(ends_before_it_starts());
        }
        other => other?,
    };
    let event = current(conn, id).await?;
    if let Some(was) = was.filter(|was| *was != event.occasion()) {
        notices::changed(conn, id, &was, settles).await?;
    }
    let mut broadcasts = Vec::new();
    if let Some(mut known) = known {
        known.is_public = event.is_public;
        known.status = event.status;
        known.updated_at = event.updated_at;
        broadcasts.push((Audience::Others(user), known));
    }
    // Nobody else hears of what is taken down, meanwhile or before.
    let audience = match is_taken_down(conn, id).await? {
        true => Audience::User(user),
        false => event.audience(),
    };
    broadcasts.push((audience, event.clone()));
    Ok((event, broadcasts))
}

/// [`Error::EventHasBuyers`] for a change that starts or ends the event at once, while somebody has
/// booked it: its buyers could not cancel any more, nor its organiser be held to it. Whoever books
/// while this is decided cannot pay for an event that has started.
async fn require_ahead(conn: &mut PgConnection, id: EventId, changes: &EventChanges) -> Result<()> {
    if changes.start_date.is_none() && changes.end_date.is_none() {
        return Ok(());
    }
    let is_over = sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT 1 FROM events e JOIN bookings b ON b.event_id = e.id
               WHERE e.id = $1 AND b.status IN ('pending', 'confirmed')
                   AND (e.start_date > now() AND $2 <= now() OR e.end_date > now() AND $3 <= now())) AS "over!""#,
        id as _,
        changes.start_date as _,
        changes.end_date as _,
    );
    if is_over.fetch_one(conn).await? { Err(Error::EventHasBuyers) } else { Ok(()) }
}

async fn is_taken_down(conn: &mut PgConnection, id: EventId) -> Result<bool> {
    let down = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM events WHERE id = $1 AND taken_down_at IS NOT NULL) AS "down!""#,
        id as _,
    );
    Ok(down.fetch_one(conn).await?)
}

async fn current(conn: &mut PgConnection, id: EventId) -> Result<EventUpdated> {
    sqlx::query_as!(
        EventUpdated,
        r#"SELECT id AS "id!", name AS "name!", description AS "description!", start_date AS "start_date!", end_date AS "end_date!",
                  (SELECT time_zone FROM events WHERE id = $1) AS "time_zone!: _", image_url, location AS "location!", venue_name, organizer_id AS "organizer_id!", status AS "status!: _",
                  is_public AS "is_public!", max_tickets_per_user AS "max_tickets_per_user!",
                  (SELECT require_verified_phone FROM events WHERE id = $1) AS "require_verified_phone!",
                  (SELECT holders_until FROM events WHERE id = $1) AS "holders_until: _",
                  created_at AS "created_at!", updated_at AS "updated_at!", organizer_name
           FROM event_overview WHERE id = $1"#,
        id as _,
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::EventNotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_at_an_address_that_begins_with_https() {
        for url in ["https://nexus.example/jazz.jpg", "HTTPS://a", "https://ü.example/é?x=1#y"] {
            assert!(is_https(url), "{url}");
        }
        for url in [
            "http://nexus.example/jazz.jpg",
            "https://",
            "https:///etc",
            "https:/a",
            "//a",
            "jazz.jpg",
            "javascript:alert(1)",
            "data:image/png;base64,AA",
            "https://a/\"onerror=\"",
            "https://a b",
            "éhttps://a",
        ] {
            assert!(!is_https(url), "{url}");
        }
    }
}
