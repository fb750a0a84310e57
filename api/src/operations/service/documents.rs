//! `GET /openapi.json`, `GET /asyncapi.json`, `GET /docs`: the API documents.

use axum::{
    Extension, Json,
    response::{Html, IntoResponse},
};
use http::header;
use serde_json::{Value, json};

use crate::spec::{Documents, operation::Operation, reference};

/// What the documents say of the OpenAPI document.
pub(crate) fn openapi_spec() -> Operation {
    Operation::open("openapi", "Get the OpenAPI document").raw_response(
        200,
        "OpenAPI 3.1.",
        "application/json",
        |_| json!({ "type": "object" }),
    )
}

/// The OpenAPI document.
pub(crate) async fn openapi(Extension(documents): Extension<Documents>) -> Json<Value> {
    Json(documents.openapi().clone())
}

/// What the documents say of the AsyncAPI document.
pub(crate) fn asyncapi_spec() -> Operation {
    Operation::open("asyncapi", "Get the AsyncAPI document").raw_response(
        200,
        "AsyncAPI 3.",
        "application/json",
        |_| json!({ "type": "object" }),
    )
}

/// The AsyncAPI document.
pub(crate) async fn asyncapi(Extension(documents): Extension<Documents>) -> Json<Value> {
    Json(documents.asyncapi().clone())
}

/// What the documents say of the page that shows them.
pub(crate) fn docs_spec() -> Operation {
    Operation::open("docs", "Read the API reference").raw_response(
        200,
        "A page.",
        "text/html",
        |_| json!({ "type": "string" }),
    )
}

/// Both documents for people.
pub(crate) async fn docs(Extension(documents): Extension<Documents>) -> impl IntoResponse {
    let policy = [(header::CONTENT_SECURITY_POLICY, reference::policy())];
    (policy, Html(documents.reference().to_owned()))
}
