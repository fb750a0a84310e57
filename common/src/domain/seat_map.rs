//! Which seats of an event are taken now: what a frontend draws first, before it follows `event:seats-update`, `seat_locked` and
//! `seat_unlocked`.

use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{
    event_views::{self, SeatCounts},
    ids::{EventId, SeatTypeId, UserId},
    schemas::SeatStatus,
    seats::SeatLabel,
    time::Timestamp,
};
use crate::error::Result;

/// The taken seats of an event, with the counts and the version that belong to them.
#[derive(Debug, Serialize, ToSchema)]
#[allow(missing_docs)]
pub struct SeatMap {
    #[serde(flatten)]
    pub counts: SeatCounts,
    pub taken: Vec<TakenSeat>,
}

/// A seat that is locked or booked.
#[derive(Debug, Serialize, ToSchema)]
#[allow(missing_docs)]
pub struct TakenSeat {
    pub seat_type_id: SeatTypeId,
    pub seat_label: SeatLabel,
    #[schema(value_type = SeatStatus)]
    pub status: String,
    /// Whether it is the caller's.
    pub mine: bool,
    /// Until when the caller may book or pay it; null for booked seats and those of others.
    pub expires_at: Option<Timestamp>,
}

/// The taken seats of an event that `viewer` may see. The caller's transaction has to see one state of the database throughout
/// (REPEATABLE READ), so that seats and version belong together.
pub async fn get(conn: &mut PgConnection, event: EventId, viewer: Option<UserId>) -> Result<SeatMap> {
    event_views::require_visible(conn, event, viewer).await?;
    let counts = event_views::seat_counts(conn, event).await?;
    let rows = sqlx::query!(
        r#"SELECT event_seat_type_id, seat_label, status, user_id IS NOT DISTINCT FROM $2 AS "mine!", expires_at
           FROM seats WHERE event_id = $1 AND (status = 'booked' OR expires_at > now())
           ORDER BY event_seat_type_id, id"#,
        event.0,
        viewer.map(|user| user.0),
    )
    .fetch_all(conn)
    .await?;
    let taken = rows
        .into_iter()
        .map(|row| {
            let mine = row.mine && viewer.is_some();
            TakenSeat {
                seat_type_id: SeatTypeId(row.event_seat_type_id),
                seat_label: SeatLabel::from_db(row.seat_label),
                expires_at: row.expires_at.filter(|_| mine && row.status == "locked").map(Timestamp),
                status: row.status,
                mine,
            }
        })
        .collect();
    Ok(SeatMap { counts, taken })
}
