//! `GET /openapi.json`, `GET /asyncapi.json`, `GET /docs`: the API documents.

use axum::{
    Extension, Json, Router,
    response::{Html, IntoResponse, Response},
    routing::get,
};
use http::header;
use serde_json::json;

use crate::{
    app::App,
    spec::{Documents, operation::Operation, reference},
};

/// The text about the OpenAPI document in the API documents.
pub(crate) fn openapi_spec() -> Operation {
    Operation::open("openapi", "Get the OpenAPI document").raw_response(
        200,
        "OpenAPI 3.1.",
        "application/json",
        |_| json!({ "type": "object" }),
    )
}

/// The OpenAPI document.
pub(crate) async fn openapi(Extension(documents): Extension<Documents>) -> Response {
    Json(documents.openapi()).into_response()
}

/// The text about the AsyncAPI document in the API documents.
pub(crate) fn asyncapi_spec() -> Operation {
    Operation::open("asyncapi", "Get the AsyncAPI document").raw_response(
        200,
        "AsyncAPI 3.",
        "application/json",
        |_| json!({ "type": "object" }),
    )
}

/// The AsyncAPI document.
pub(crate) async fn asyncapi(Extension(documents): Extension<Documents>) -> Response {
    Json(documents.asyncapi()).into_response()
}

/// The text about the pages that show the documents.
pub(crate) fn docs_spec() -> Operation {
    Operation::open("docs", "Read the API reference, and try requests").raw_response(
        200,
        "A page.",
        "text/html",
        |_| json!({ "type": "string" }),
    )
}

/// The OpenAPI document for people.
pub(crate) async fn docs() -> impl IntoResponse {
    page(reference::http().into_string())
}

/// The files of that page, and the page about Socket.IO.
pub(crate) fn below_docs() -> Router<App> {
    let page = async |Extension(documents): Extension<Documents>| {
        page(documents.socketio_page().to_owned())
    };
    reference::FILES.iter().fold(
        Router::new().route("/socketio", get(page)),
        |router, &(name, media_type, content)| {
            let headers = [
                (header::CONTENT_TYPE, media_type),
                (header::CACHE_CONTROL, "public, max-age=86400"),
            ];
            router.route(&format!("/{name}"), get(async move || (headers, content)))
        },
    )
}

fn page(html: String) -> impl IntoResponse {
    ([(header::CONTENT_SECURITY_POLICY, reference::POLICY)], Html(html))
}
