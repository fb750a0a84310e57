//! `GET /auth/me/export`: everything that is held about the caller (`docs/privacy.md`), streamed page
//! by page: it may be long.

use axum::{
    body::{Body, Bytes},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use http::header;
use nexus_common::{
    Error, Result,
    accounts::export::{self, Outline},
    audit::{self, Action},
    types::ids::{BookingId, EventId, UserId},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::caller::Caller,
    http::{api_error::ApiError, policy::Envelope},
    operations::{Endpoint, Respond},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct ExportAccount {}

/// Everything that is held about a user. More may be added to each object.
#[derive(Serialize, ToSchema)]
#[schema(as = AccountExport)]
struct Described {
    /// Name, contacts and since when they are proved, address, role.
    #[schema(value_type = Object)]
    account: Value,
    /// Addresses that are to be proved, or that a link was mailed to.
    #[schema(value_type = Vec<Object>)]
    pending_emails: Value,
    #[schema(value_type = Vec<Object>)]
    sessions: Value,
    /// From where the user has logged in.
    #[schema(value_type = Vec<Object>)]
    login_networks: Value,
    #[schema(value_type = Vec<Object>)]
    role_changes: Value,
    /// What the user did, and what was done to the account: the newest thousand of each.
    #[schema(value_type = Vec<Object>)]
    audit_log: Value,
    /// Seats that the user has locked or booked.
    #[schema(value_type = Vec<Object>)]
    seats: Value,
    /// Events to which the user may let people in.
    #[schema(value_type = Vec<Object>)]
    staff_of: Value,
    /// Waiting rooms that the user has joined.
    #[schema(value_type = Vec<Object>)]
    waiting_rooms: Value,
    /// How many tickets the user has scanned, by event.
    #[schema(value_type = Vec<Object>)]
    scans: Value,
    /// What is still to be said about bookings whose event was deleted.
    #[schema(value_type = Vec<Object>)]
    cancellation_notices: Value,
    /// Tickets that others have given to the user.
    #[schema(value_type = Vec<Object>)]
    received_tickets: Value,
    /// Of tickets that the user has offered to others, or was offered.
    #[schema(value_type = Vec<Object>)]
    transfers: Value,
    #[schema(value_type = Vec<Object>)]
    orders_of_deleted_bookings: Value,
    /// With seats and who sits there, tickets, orders, payments, refunds, disputes, and what Razorpay
    /// said.
    #[schema(value_type = Vec<Object>)]
    bookings: Value,
    /// Those that the user organises, without who has booked them.
    #[schema(value_type = Vec<Object>)]
    events: Value,
}

/// The response while it is still to be read.
pub(crate) struct Export {
    app: App,
    user: UserId,
    outline: Outline,
}

impl Endpoint for ExportAccount {
    type Caller = Caller;
    type Response = Export;

    fn spec() -> Operation {
        Operation::private("export_account", "Get everything that is held about the own account")
            .description("A response that breaks off is not complete.")
    }

    async fn run(self, app: App, caller: Caller) -> Result<Self::Response, ApiError> {
        let user = caller.user;
        app.budgets.account_export(user).await?;
        let mut conn = app.db.acquire().await?;
        let outline = export::outline(&mut conn, user).await?;
        audit::record(&mut conn, Action::AccountExported, Some(user), user, json!({})).await?;
        drop(conn);
        Ok(Export { app, user, outline })
    }
}

/// A part of the response that is read when its reader has taken what comes before.
enum Part {
    Text(String),
    Bookings(Vec<BookingId>),
    Events(Vec<EventId>),
}

impl Respond for Export {
    fn describe(operation: Operation) -> Operation {
        operation.response::<Described>()
    }

    fn respond(self, envelope: Envelope) -> Result<Response, ApiError> {
        let Export { app, user, outline } = self;
        let begin = match envelope {
            Envelope::Data => r#"{"data":{"#,
            Envelope::Success => r#"{"success":true,"data":{"#,
        };
        let mut head = begin.to_owned();
        for (name, section) in &outline.sections {
            head.push_str(&format!("{}:{section},", Value::from(*name)));
        }
        head.push_str(r#""bookings":["#);
        let mut parts = vec![Part::Text(head)];
        parts.extend(outline.booking_pages().map(Part::Bookings));
        parts.push(Part::Text(r#"],"events":["#.to_owned()));
        parts.extend(outline.event_pages().map(Part::Events));
        parts.push(Part::Text("]}}".to_owned()));
        // Whether the list has begun, so that its next rows come after a comma.
        let begin = (parts.into_iter(), false);
        let body = stream::try_unfold(begin, move |(mut parts, has_rows)| {
            let app = app.clone();
            async move {
                let Some(part) = parts.next() else { return Ok::<_, Error>(None) };
                let (text, has_rows) =
                    read(&app, user, part, has_rows).await.inspect_err(|error| {
                        // The response has begun: it breaks off, which is what its reader sees.
                        let error = error.details();
                        tracing::error!(error, "an export of an account broke off");
                    })?;
                Ok(Some((Bytes::from(text), (parts, has_rows))))
            }
        });
        let headers = [
            (header::CONTENT_TYPE, "application/json"),
            (header::CONTENT_DISPOSITION, "attachment; filename=\"account.json\""),
        ];
        Ok((headers, Body::from_stream(body)).into_response())
    }
}

/// The text of a part, and whether the list has rows after it.
async fn read(app: &App, user: UserId, part: Part, has_rows: bool) -> Result<(String, bool)> {
    let rows = match part {
        Part::Text(text) => return Ok((text, false)),
        Part::Bookings(ids) => export::bookings(&mut *app.db.acquire().await?, user, &ids).await?,
        Part::Events(ids) => export::events(&mut *app.db.acquire().await?, user, &ids).await?,
    };
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        if has_rows || number > 0 {
            text.push(',');
        }
        text.push_str(&row.to_string());
    }
    Ok((text, has_rows || !rows.is_empty()))
}
