//! Accounts that may let people in to an event, besides its organiser's.

use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::access::take_turns;
use crate::{
    accounts::{credentials::Login, users},
    error::{Error, Result, violated_constraint},
    events::event::require_organizer,
    types::{
        ids::{EventId, UserId},
        time::Timestamp,
    },
};

/// Somebody who may let people in.
#[derive(Debug, Serialize, ToSchema)]
pub struct StaffMember {
    pub user_id: UserId,
    /// The address or number by which the organiser has named them, who learns nothing else.
    pub account: String,
    pub added_at: Timestamp,
}

/// No event has more.
pub const MOST: i64 = 500;

pub const MANAGE: &str = "manage the staff of this event";

/// The staff of an event, for its organiser.
pub async fn list(
    conn: &mut PgConnection,
    event: EventId,
    organiser: UserId,
) -> Result<Vec<StaffMember>> {
    require_organizer(conn, event, organiser, MANAGE).await?;
    let staff = sqlx::query_as!(
        StaffMember,
        r#"SELECT user_id AS "user_id: _", named_as AS account, added_at AS "added_at: _" FROM event_staff
           WHERE event_id = $1 ORDER BY added_at, user_id"#,
        event as _,
    );
    Ok(staff.fetch_all(conn).await?)
}

/// Adds the account that has proved this e-mail address or phone number, for the event's organiser.
pub async fn add(
    conn: &mut PgConnection,
    event: EventId,
    organiser: UserId,
    login: &Login,
) -> Result<StaffMember> {
    require_organizer(conn, event, organiser, MANAGE).await?.audience()?;
    let found = users::find(conn, login, "").await?.into_iter().next();
    // Whoever claims somebody else's address is not who the organiser means.
    let account = found.filter(|account| account.proved).ok_or(Error::AccountNotFound)?;
    take_turns(conn, event).await?;
    let added = sqlx::query_scalar!(
        r#"INSERT INTO event_staff AS s (event_id, user_id, named_as)
           SELECT $1, $2, $4 WHERE (SELECT count(*) FROM event_staff WHERE event_id = $1) < $3
           ON CONFLICT (event_id, user_id) DO UPDATE SET named_as = excluded.named_as RETURNING added_at AS "added_at: Timestamp""#,
        event as _,
        account.user.id as _,
        MOST,
        login.as_str(),
    )
    .fetch_optional(conn)
    .await;
    let added = match added {
        Err(error) if violated_constraint(&error) == Some("event_staff_event_id_fkey") => {
            return Err(Error::EventNotFound);
        }
        added => added?,
    };
    let too_many = || Error::invalid(format!("An event can have at most {MOST} members of staff"));
    let added_at = added.ok_or_else(too_many)?;
    Ok(StaffMember { user_id: account.user.id, account: login.as_str().to_owned(), added_at })
}

/// Removes an account, for the event's organiser; false if it is not there.
pub async fn remove(
    conn: &mut PgConnection,
    event: EventId,
    organiser: UserId,
    user: UserId,
) -> Result<bool> {
    require_organizer(conn, event, organiser, MANAGE).await?;
    let removed = sqlx::query!(
        "DELETE FROM event_staff WHERE event_id = $1 AND user_id = $2",
        event as _,
        user as _,
    );
    Ok(removed.execute(conn).await?.rows_affected() > 0)
}
