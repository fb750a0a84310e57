//! What the API says of itself: OpenAPI for HTTP, AsyncAPI for Socket.IO, and a page that shows both to people.
//!
//! One description of each operation ([`operations`]) is the source of all three. A route cannot be added without its description
//! ([`routes`]), answers are described by the types that they are made of (`ToSchema`), failures by the errors themselves, and broadcasts by
//! the one table of `common/src/domain/news.rs`. utoipa derives the schemas; the documents around them are put together here, because it
//! knows only one of the two.

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

use axum::{Json, response::Html};
use serde_json::Value;

use crate::router;

/// The OpenAPI document.
pub(crate) static OPENAPI: LazyLock<Value> = LazyLock::new(|| openapi::document(&router::routes().described));

/// The AsyncAPI document.
pub(crate) static ASYNCAPI: LazyLock<Value> = LazyLock::new(|| {
    let (routes, others) = (router::routes().described, operations::socket_only());
    let commands = routes.iter().map(|route| &route.operation).filter(|operation| operation.is_command);
    asyncapi::document(commands.chain(&others))
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
pub(crate) async fn page() -> Html<&'static str> {
    Html(&PAGE)
}
