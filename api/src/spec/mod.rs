//! The API's description of itself: OpenAPI for HTTP, AsyncAPI for Socket.IO, and pages that show
//! both to people.
//!
//! One description per operation, in the operation's own file, is the source of all three. A route
//! cannot be added without it; the types of requests and responses (`ToSchema`) describe them, and
//! the errors describe the failures. utoipa derives the schemas; the documents around them are
//! built here, because utoipa knows only one of the two formats.

mod asyncapi;
mod components;
mod openapi;
pub(crate) mod operation;
pub(crate) mod reference;
mod schemas;

use std::sync::{Arc, OnceLock};

use serde_json::Value;

use self::operation::{Operation, Route};

/// The documents, built when first requested. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Documents(Arc<Sources>);

struct Sources {
    routes: fn() -> Vec<Route>,
    commands: fn() -> Vec<Operation>,
    openapi: OnceLock<Value>,
    asyncapi: OnceLock<Value>,
    socketio: OnceLock<String>,
}

impl Documents {
    /// The documents of these routes and commands.
    pub(crate) fn new(routes: fn() -> Vec<Route>, commands: fn() -> Vec<Operation>) -> Self {
        Documents(Arc::new(Sources {
            routes,
            commands,
            openapi: OnceLock::new(),
            asyncapi: OnceLock::new(),
            socketio: OnceLock::new(),
        }))
    }

    /// The OpenAPI document.
    pub(crate) fn openapi(&self) -> &Value {
        self.0.openapi.get_or_init(|| openapi::document(&(self.0.routes)()))
    }

    /// The AsyncAPI document.
    pub(crate) fn asyncapi(&self) -> &Value {
        self.0.asyncapi.get_or_init(|| asyncapi::document(&(self.0.commands)()))
    }

    /// The AsyncAPI document as a page.
    pub(crate) fn socketio_page(&self) -> &str {
        self.0.socketio.get_or_init(|| reference::socketio(self.asyncapi()).into_string())
    }
}
