//! What the API says of itself: OpenAPI for HTTP, AsyncAPI for Socket.IO, and a page that shows
//! both to people.
//!
//! One description of each operation ([`operations`]) is the source of all three. A route cannot be
//! added without its description ([`routes`]), answers are described by the types that they are
//! made of (`ToSchema`), failures by the errors themselves, and broadcasts by the one table of
//! `common/src/domain/news.rs`. utoipa derives the schemas; the documents around them are put
//! together here, because it knows only one of the two.

pub(crate) mod operations;
pub(crate) mod routes;

mod asyncapi;
mod components;
mod openapi;
mod operation;
mod page;
mod requests;
mod schemas;

use std::sync::LazyLock;

use axum::{
    Json,
    response::{Html, IntoResponse},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use http::header;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::router;

/// The OpenAPI document.
pub(crate) static OPENAPI: LazyLock<Value> =
    LazyLock::new(|| openapi::document(&router::routes().described));

/// The AsyncAPI document.
pub(crate) static ASYNCAPI: LazyLock<Value> = LazyLock::new(|| {
    let (routes, others) = (router::routes().described, operations::socket_only());
    let commands =
        routes.iter().map(|route| &route.operation).filter(|operation| operation.is_command);
    asyncapi::document(commands.chain(&others))
});

/// The page has its style in itself, and nothing else.
static PAGE_POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = BASE64_STANDARD.encode(Sha256::digest(page::STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    )
});

static PAGE: LazyLock<String> = LazyLock::new(|| page::render(&OPENAPI, &ASYNCAPI));

/// `GET /openapi.json`
pub(crate) async fn openapi() -> Json<&'static Value> {
    Json(&OPENAPI)
}

/// `GET /asyncapi.json`
pub(crate) async fn asyncapi() -> Json<&'static Value> {
    Json(&ASYNCAPI)
}

/// `GET /docs`
pub(crate) async fn page() -> impl IntoResponse {
    ([(header::CONTENT_SECURITY_POLICY, PAGE_POLICY.as_str())], Html(PAGE.as_str()))
}
