//! Looking at events.

use axum::{Json, extract::State};
use nexus_common::{
    Error, Result,
    events::{
        cancellation, seat_types,
        views::{self, ListFilter},
    },
    types::{
        ids::EventId,
        input::{Input, Page},
    },
};
use serde_json::{Value, json};

use crate::{
    app::App,
    error::Outcome,
    extract::{Caller, Fields, MaybeCaller},
};

/// `GET /events`
pub(crate) async fn list(
    State(app): State<App>,
    MaybeCaller(viewer): MaybeCaller,
    Fields(query): Fields,
) -> Outcome<Json<Value>> {
    let page = Page::parse(&query).map_err(Error::from)?;
    let filter = ListFilter::parse(&query, viewer);
    let mut conn = app.db.acquire().await?;
    let (events, total) = views::list(&mut conn, &filter, page).await?;
    Ok(Json(json!({ "data": events, "pagination": page.describe(total) })))
}

/// `GET /events/:id`
pub(crate) async fn get(
    State(app): State<App>,
    MaybeCaller(viewer): MaybeCaller,
    Fields(path): Fields,
) -> Outcome<Json<Value>> {
    let id = event_id(&path)?;
    let mut conn = app.db.acquire().await?;
    let event = views::get(&mut conn, id, viewer).await?;
    Ok(Json(json!({ "data": event })))
}

/// `GET /events/:id/seat-types`
pub(crate) async fn seat_types(
    State(app): State<App>,
    MaybeCaller(viewer): MaybeCaller,
    Fields(path): Fields,
) -> Outcome<Json<Value>> {
    let id = event_id(&path)?;
    let mut conn = app.db.acquire().await?;
    let seat_types = seat_types::list(&mut conn, id, viewer).await?;
    Ok(Json(json!({ "data": seat_types })))
}

/// `GET /events/:id/cancellation`
pub(crate) async fn cancellation(
    State(app): State<App>,
    caller: Caller,
    Fields(path): Fields,
) -> Outcome<Json<Value>> {
    let id = event_id(&path)?;
    let mut conn = app.db.acquire().await?;
    let progress = cancellation::progress(&mut conn, id, caller.user).await?;
    Ok(Json(json!({ "data": progress })))
}

pub(super) fn event_id(path: &Input) -> Result<EventId> {
    path.id("eventId").ok_or_else(|| Error::invalid("Invalid event ID"))
}
