//! Who may let people in to an event: its organiser, the accounts that they have named, and devices
//! with one of its door keys.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{PgConnection, types::Json};

use crate::{
    error::{Error, Result},
    events::event::require_visible,
    storage::postgres::interval,
    types::{
        ids::{DoorKeyId, EventId, GateId, UserId},
        visibility::{Viewer, Visibility},
    },
};

/// Who lets people in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    Account(UserId),
    Scanner(Scanner),
}

/// A scanner: a device whose door key is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanner {
    pub key: DoorKeyId,
    pub event: EventId,
    /// Where it is.
    pub gate: Option<GateId>,
}

impl Keeper {
    /// The account.
    pub fn account(self) -> Option<UserId> {
        match self {
            Keeper::Account(user) => Some(user),
            Keeper::Scanner(_) => None,
        }
    }

    /// The scanner.
    pub fn scanner(self) -> Option<Scanner> {
        match self {
            Keeper::Account(_) => None,
            Keeper::Scanner(scanner) => Some(scanner),
        }
    }

    /// For the audit log, where it is no account.
    pub fn details(self) -> Value {
        json!({ "door_key": self.scanner().map(|scanner| scanner.key) })
    }
}

/// The door of an event, for somebody who may let people in there.
#[derive(Clone, Copy, Debug)]
pub struct Door {
    pub event: EventId,
    pub keeper: Keeper,
    /// An operator has taken the event down: its tickets are good, and its buyers' names nobody's.
    pub is_down: bool,
    /// People may come in now.
    is_open: bool,
}

impl Door {
    /// Refuses to let people in before the door opens, and once nobody comes any more. Else an
    /// organiser could use tickets up as soon as they are sold, and their buyers could not cancel.
    pub fn require_open(&self) -> Result<()> {
        if self.is_open { Ok(()) } else { Err(Error::DoorClosed) }
    }
}

/// What others are told; completes "You are not authorized to …".
pub const LET_IN: &str = "let people in to this event";

/// The door of `event`, if `keeper` may let people in there. To whom the event is hidden, there is
/// no such event. It opens so long before the event starts, and closes two days after its end, when
/// door keys end, too.
pub async fn door(
    conn: &mut PgConnection,
    event: EventId,
    keeper: Keeper,
    opens: Duration,
) -> Result<Door> {
    let row = sqlx::query!(
        r#"SELECT organizer_id = $2 AS "is_organiser", event_visibility(e) AS "visibility!: Json<Visibility>", taken_down_at IS NOT NULL AS "is_down!",
                  now() BETWEEN start_date - $3::interval AND end_date + interval '2 days' AS "is_open!",
                  EXISTS (SELECT 1 FROM event_staff s WHERE s.event_id = e.id AND s.user_id = $2) AS "is_staff!",
                  EXISTS (SELECT 1 FROM door_keys k WHERE k.id = $4 AND k.revoked_at IS NULL) AS "has_key!"
           FROM events e WHERE id = $1"#,
        event as _,
        keeper.account() as _,
        interval(opens)?,
        keeper.scanner().map(|scanner| scanner.key) as _,
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::EventNotFound)?;
    let may = match keeper {
        Keeper::Account(_) => row.is_organiser == Some(true) || row.is_staff,
        // The key may have been revoked since its request began.
        Keeper::Scanner(_) if !row.has_key => return Err(Error::TokenInvalid),
        Keeper::Scanner(scanner) => scanner.event == event,
    };
    if !may {
        require_visible(row.visibility.0, Viewer { user: keeper.account(), code: None })?;
        return Err(Error::Forbidden(LET_IN));
    }
    Ok(Door { event, keeper, is_down: row.is_down, is_open: row.is_open })
}

/// Of those who add something to the door of one event at the same time, each waits here for the one
/// before, so that what there is of it is counted.
pub(super) async fn take_turns(conn: &mut PgConnection, event: EventId) -> Result<()> {
    sqlx::query!("SELECT id FROM events WHERE id = $1 FOR NO KEY UPDATE", event as _)
        .fetch_optional(conn)
        .await?;
    Ok(())
}
