//! Looking at an event's seats.

use axum::{Json, extract::State};
use nexus_common::domain::seat_map;
use serde_json::{Value, json};

use super::events::event_id;
use crate::{
    app::App,
    error::Outcome,
    extract::{Fields, MaybeCaller},
};

/// `GET /seats/:eventId`
pub(crate) async fn map(
    State(app): State<App>,
    MaybeCaller(viewer): MaybeCaller,
    Fields(path): Fields,
) -> Outcome<Json<Value>> {
    let event = event_id(&path)?;
    let mut tx = app.db.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let map = seat_map::get(&mut tx, event, viewer).await?;
    tx.rollback().await?;
    Ok(Json(json!({ "data": map })))
}
