//! An event: its data, its organiser, and who hears that it changes.

use serde::Serialize;
use sqlx::{PgConnection, types::Json};
use utoipa::ToSchema;

use super::notices::Occasion;
use crate::{
    error::{Error, Result},
    realtime::Audience,
    types::{
        ids::{EventId, UserId},
        statuses::EventStatus,
        time::Timestamp,
        time_zone::TimeZone,
        visibility::{Viewer, Visibility},
    },
};

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Event {
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
}

/// An event after a change, with its organiser's name, as in lists.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EventUpdated {
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
}

/// An event of the caller's.
#[derive(Debug)]
pub struct Own {
    audience: Audience,
    /// An operator has taken it down.
    pub is_down: bool,
}

impl Own {
    /// Who hears of what is done with it. What an operator has taken down stays as it was when it
    /// was: [`Error::EventTakenDown`].
    pub fn audience(self) -> Result<Audience> {
        if self.is_down { Err(Error::EventTakenDown) } else { Ok(self.audience) }
    }
}

/// Refuses callers other than the event's organiser; `doing` completes "You are not authorized to
/// …". To whom it is hidden, there is no such event.
pub async fn require_organizer(
    conn: &mut PgConnection,
    event: EventId,
    user: UserId,
    doing: &'static str,
) -> Result<Own> {
    let row = sqlx::query!(
        r#"SELECT organizer_id AS "organizer_id: UserId", is_public, status AS "status: EventStatus", taken_down_at IS NOT NULL AS "is_down!",
                  event_visibility(e) AS "visibility!: Json<Visibility>"
           FROM events e WHERE id = $1"#,
        event as _,
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::EventNotFound)?;
    require_visible(row.visibility.0, Viewer { user: Some(user), code: None })?;
    if row.organizer_id != user {
        return Err(Error::Forbidden(doing));
    }
    Ok(Own { audience: audience(row.is_public, row.status, user), is_down: row.is_down })
}

/// Only their organiser hears of drafts and private events (docs/contract.md#change-10 and
/// docs/contract.md#change-16).
fn audience(is_public: bool, status: EventStatus, organizer: UserId) -> Audience {
    if is_public && status != EventStatus::Draft {
        Audience::Everyone
    } else {
        Audience::User(organizer)
    }
}

impl Event {
    pub fn audience(&self) -> Audience {
        audience(self.is_public, self.status, self.organizer_id)
    }
}

impl EventUpdated {
    /// When and where it is.
    pub(super) fn occasion(&self) -> Occasion {
        Occasion {
            start_date: self.start_date,
            time_zone: self.time_zone,
            location: self.location.clone(),
            venue_name: self.venue_name.clone(),
        }
    }

    pub fn audience(&self) -> Audience {
        audience(self.is_public, self.status, self.organizer_id)
    }
}

/// [`Error::EventNotFound`] unless `viewer` may know of the event.
pub fn require_visible(visibility: Visibility, viewer: Viewer) -> Result<()> {
    if visibility.is_open_to(viewer) { Ok(()) } else { Err(Error::EventNotFound) }
}
