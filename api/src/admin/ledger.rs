//! The payments ledger as a file, streamed page by page: it may be long.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::State,
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};
use http::header;
use nexus_common::{
    Error, Result,
    audit::{self, Action, Subject},
    payments::ledger_export::{self, Place, Range},
};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::operator::Admin;
use crate::{
    app::App,
    http::{
        api_error::ApiError,
        fields::{Text, filled},
        request::Fields,
    },
};

/// Which rows are exported.
#[derive(Deserialize)]
pub(super) struct Period {
    from: Option<Text>,
    to: Option<Text>,
}

/// `GET /admin/ledger.csv?from=&to=`
pub(super) async fn export(
    State(app): State<App>,
    operator: Admin,
    fields: Fields<Period>,
) -> Result<Response, ApiError> {
    let Period { from, to } = fields.request;
    let given = |field: Option<Text>| field.as_ref().and_then(filled);
    let range = Range::parse(given(from).as_deref(), given(to).as_deref())?;
    until_closed(&app, range).await?;
    let (action, subject) = (Action::LedgerExported, Subject::installation());
    let mut conn = app.db.acquire().await?;
    audit::record(&mut conn, action, Some(operator.user), subject, json!({})).await?;
    drop(conn);
    tracing::info!(operator = %operator.user, ?range, "an operator exports the ledger");
    let head = stream::once(async {
        Ok::<_, nexus_common::Error>(Bytes::from_static(ledger_export::HEADER.as_bytes()))
    });
    let pages = stream::try_unfold((app, Place::first(range)), move |(app, after)| async move {
        let page = next_page(&app, range, after).await.inspect_err(|error| {
            // The response has begun: it breaks off, which is what its reader sees.
            tracing::error!(error = error.details(), "an export of the ledger broke off");
        })?;
        Ok(page.map(|(lines, last)| (Bytes::from(lines), (app, last))))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"ledger.csv\""),
    ];
    Ok((headers, Body::from_stream(head.chain(pages))).into_response())
}

/// How long an export waits for rows that are still being written.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(5);

/// If the period is over, waits until no further row can be dated in it. The wait blocks no other
/// request.
async fn until_closed(app: &App, range: Range) -> Result<()> {
    let Some(barrier) = ledger_export::barrier(&mut *app.db.acquire().await?, range).await? else {
        return Ok(());
    };
    let give_up_at = Instant::now() + CLOSING_TIMEOUT;
    while !ledger_export::is_past(&mut *app.db.acquire().await?, &barrier).await? {
        if Instant::now() >= give_up_at {
            return Err(Error::LedgerPeriodOpen);
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn next_page(app: &App, range: Range, after: Place) -> Result<Option<(String, Place)>> {
    ledger_export::page(&mut *app.db.acquire().await?, range, after).await
}
