//! Looking at an event's seats.

use axum::{body::Bytes, extract::State};
use http::header;

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
) -> Outcome<([(header::HeaderName, &'static str); 1], Bytes)> {
    let event = event_id(&path)?;
    let answer = app.seat_maps.answer(&app, event, viewer).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], answer))
}
