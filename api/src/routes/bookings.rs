//! Looking at one's bookings and tickets.

use axum::{Json, extract::State};
use nexus_common::{
    Error, Result,
    bookings::views,
    tickets,
    types::{
        ids::BookingId,
        input::{Input, Page},
    },
};
use serde_json::{Value, json};

use crate::{
    app::App,
    error::Outcome,
    extract::{Caller, Fields},
};

/// `GET /bookings/my-bookings`
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Fields(query): Fields,
) -> Outcome<Json<Value>> {
    let page = Page::parse(&query).map_err(Error::from)?;
    let mut conn = app.db.acquire().await?;
    let (bookings, total) =
        views::list(&mut conn, caller.user, query.filled("status"), page).await?;
    Ok(Json(json!({ "success": true, "data": bookings, "pagination": page.describe(total) })))
}

/// `GET /bookings/:id`
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    Fields(path): Fields,
) -> Outcome<Json<Value>> {
    let id = booking_id(&path)?;
    let mut conn = app.db.acquire().await?;
    let booking = views::get(&mut conn, id, caller.user).await?;
    Ok(Json(json!({ "success": true, "data": booking })))
}

/// `GET /bookings/:id/tickets`
pub(crate) async fn tickets(
    State(app): State<App>,
    caller: Caller,
    Fields(path): Fields,
) -> Outcome<Json<Value>> {
    let id = booking_id(&path)?;
    let mut conn = app.db.acquire().await?;
    let tickets = tickets::views::of_booking(&mut conn, id, caller.user).await?;
    Ok(Json(json!({ "success": true, "data": tickets })))
}

/// `GET /bookings/ticket-status/:jobId`
pub(crate) async fn ticket_status(
    State(app): State<App>,
    caller: Caller,
    Fields(path): Fields,
) -> Outcome<Json<Value>> {
    let job = path.text("job_id").and_then(|id| id.parse().ok()).ok_or(Error::TicketJobNotFound)?;
    let mut conn = app.db.acquire().await?;
    let status = tickets::views::job_status(&mut conn, job, caller.user).await?;
    Ok(Json(json!({ "success": true, "data": status })))
}

fn booking_id(path: &Input) -> Result<BookingId> {
    path.id("booking_id").ok_or_else(|| Error::invalid("Invalid booking ID"))
}
