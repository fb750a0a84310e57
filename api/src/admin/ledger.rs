//! The payments ledger as a file, streamed page by page: it may be long.

use axum::{
    body::{Body, Bytes},
    extract::State,
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};
use http::header;
use nexus_common::{
    Result,
    domain::ledger_export::{self, Range},
};

use super::session::Admin;
use crate::{app::App, error::Failure, extract::Fields};

/// `GET /admin/ledger.csv?from=&to=`
pub(super) async fn export(
    State(app): State<App>,
    operator: Admin,
    Fields(query): Fields,
) -> Result<Response, Failure> {
    let range = Range::parse(&query)?;
    tracing::info!(operator = %operator.user, ?range, "an operator exports the ledger");
    let head = stream::once(async {
        Ok::<_, nexus_common::Error>(Bytes::from_static(ledger_export::HEADER.as_bytes()))
    });
    let pages = stream::try_unfold((app, 0), move |(app, after)| async move {
        let page = next_page(&app, range, after).await.inspect_err(|error| {
            // The answer has begun: it breaks off, which is what its reader sees.
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

async fn next_page(app: &App, range: Range, after: i64) -> Result<Option<(String, i64)>> {
    ledger_export::page(&mut *app.db.acquire().await?, range, after).await
}
