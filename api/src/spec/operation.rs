//! The description of an operation in the API documents, over HTTP, a socket, or both.

use http::Method;
use nexus_common::Error;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::schemas::{Describe, Schemas};
use crate::http::{api_error::ApiError, policy::Policy, solution::SOLUTION};

/// The description of one route.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// The section of the document.
    pub(crate) tag: &'static str,
    pub(crate) policy: Policy,
    pub(crate) operation: Operation,
}

/// The description of an operation.
pub(crate) struct Operation {
    /// Unique; a command has the same name over a socket.
    pub(crate) name: &'static str,
    pub(super) summary: &'static str,
    pub(super) description: &'static str,
    pub(super) access: Access,
    /// Whether HTTP clients may send it twice, with an `Idempotency-Key`.
    pub(super) once: bool,
    /// Path segments, query parameters or body, and payload alike: an object.
    input: Option<Describe>,
    /// Whether its fields are in the body even of a DELETE: proxies log queries.
    pub(super) in_body: bool,
    /// Schemas; the input must match at least one.
    any_of: Vec<Value>,
    pub(super) headers: Vec<Header>,
    /// `None`: the operation has only its `plain` responses.
    pub(super) success: Option<Success>,
    pub(super) plain: Vec<Plain>,
    /// Failures besides those that every operation of its kind has.
    pub(super) failures: Vec<ApiError>,
}

/// Who may ask for it.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Access {
    Anybody,
    /// Anyone; users may be told more.
    MaybeUser,
    User,
    /// Users, and devices with a door key.
    Keeper,
}

/// A request's header that matters to one operation.
pub(super) struct Header {
    pub(super) name: &'static str,
    pub(super) required: bool,
    pub(super) description: &'static str,
}

/// The content of a success, in its envelope.
#[derive(Clone, Copy)]
pub(super) enum Success {
    /// `data`
    Data(Describe),
    /// An array in `data`, and `pagination` beside it.
    Page(Describe),
    /// A file of one of these types, without an envelope.
    File(&'static [&'static str]),
}

impl Success {
    /// The schema of its `data`.
    pub(crate) fn data(self, schemas: &mut Schemas) -> Value {
        match self {
            Success::Data(data) | Success::Page(data) => data(schemas),
            Success::File(_) => json!({}),
        }
    }
}

/// A response without an envelope.
pub(super) struct Plain {
    pub(super) status: u16,
    pub(super) description: &'static str,
    pub(super) media_type: &'static str,
    pub(super) body: Describe,
}

impl Operation {
    fn new(name: &'static str, summary: &'static str, access: Access) -> Self {
        Operation {
            name,
            summary,
            description: "",
            access,
            once: false,
            input: None,
            in_body: false,
            any_of: vec![],
            headers: vec![],
            success: None,
            plain: vec![],
            failures: vec![],
        }
    }

    /// Open to all.
    pub(crate) fn open(name: &'static str, summary: &'static str) -> Self {
        Self::new(name, summary, Access::Anybody)
    }

    /// Open to all; users may be told more.
    pub(crate) fn open_to_users(name: &'static str, summary: &'static str) -> Self {
        Self::new(name, summary, Access::MaybeUser)
    }

    /// For users.
    pub(crate) fn private(name: &'static str, summary: &'static str) -> Self {
        Self::new(name, summary, Access::User)
    }

    /// For users, and for devices with a door key.
    pub(crate) fn at_the_door(name: &'static str, summary: &'static str) -> Self {
        Self::new(name, summary, Access::Keeper)
    }

    /// For users, over sockets too.
    pub(crate) fn command(name: &'static str, summary: &'static str) -> Self {
        Self::private(name, summary).once()
    }

    /// With an `Idempotency-Key` it happens once, however often it is asked for.
    pub(crate) fn once(self) -> Self {
        Operation { once: true, ..self }
    }

    /// A longer description.
    pub(crate) fn description(self, description: &'static str) -> Self {
        Operation { description, ..self }
    }

    /// Its input's fields.
    pub(crate) fn request<T: ToSchema>(mut self) -> Self {
        if json!(T::schema())["type"] == "object"
            && json!(T::schema())["properties"].as_object().is_none_or(|fields| fields.is_empty())
        {
            return self;
        }
        let invalid = Error::invalid("The message says which rule the input breaks.");
        self.failures.insert(0, invalid.into());
        Operation { input: Some(Schemas::input::<T>), ..self }
    }

    /// Its fields are secrets, and no part of an address.
    pub(crate) fn in_body(self) -> Self {
        Operation { in_body: true, ..self }
    }

    /// At least one of these fields must have a value.
    pub(crate) fn needs_one_of(self, fields: &[&str]) -> Self {
        let something = |name: &&str| json!({ "required": [name], "properties": { *name: { "not": { "type": "null" } } } });
        Operation { any_of: fields.iter().map(something).collect(), ..self }
    }

    /// At least one of these fields must be sent; null is a change, too.
    pub(crate) fn changes(self, fields: &[&str]) -> Self {
        Operation {
            any_of: fields.iter().map(|name| json!({ "required": [name] })).collect(),
            ..self
        }
    }

    /// The schema of its input.
    pub(crate) fn input(&self, schemas: &mut Schemas) -> Option<Value> {
        let mut input = self.input?(schemas);
        if !self.any_of.is_empty() {
            input["anyOf"] = json!(self.any_of);
        }
        Some(input)
    }

    /// The `data` of its success.
    pub(crate) fn response<T: ToSchema>(self) -> Self {
        Operation { success: Some(Success::Data(Schemas::output::<T>)), ..self }
    }

    /// The elements of its `data`.
    pub(crate) fn list_response<T: ToSchema>(self) -> Self {
        Operation { success: Some(Success::Data(Schemas::list::<T>)), ..self }
    }

    /// The elements of the page.
    pub(crate) fn page_response<T: ToSchema>(self) -> Self {
        Operation { success: Some(Success::Page(Schemas::list::<T>)), ..self }
    }

    /// A file of one of these types.
    pub(crate) fn file_response(self, media_types: &'static [&'static str]) -> Self {
        Operation { success: Some(Success::File(media_types)), ..self }
    }

    /// JSON without an envelope.
    pub(crate) fn plain_response<T: ToSchema>(
        self,
        status: u16,
        description: &'static str,
    ) -> Self {
        self.raw_response(status, description, "application/json", Schemas::output::<T>)
    }

    /// Anything without an envelope.
    pub(crate) fn raw_response(
        mut self,
        status: u16,
        description: &'static str,
        media_type: &'static str,
        body: Describe,
    ) -> Self {
        self.plain.push(Plain { status, description, media_type, body });
        self
    }

    /// A request header that it reads.
    pub(crate) fn header(
        mut self,
        name: &'static str,
        required: bool,
        description: &'static str,
    ) -> Self {
        self.headers.push(Header { name, required, description });
        self
    }

    /// It may be answered with a puzzle, and takes the solution.
    pub(crate) fn puzzles(self) -> Self {
        let header = self.header(
            SOLUTION,
            false,
            "With `proof_of_work_needed`, the response has a `puzzle`. The same request succeeds with its solution: Base64, as ALTCHA's widget and libraries make it. It counts once.",
        );
        header.failures([Error::work_needed()])
    }

    /// Why it may fail.
    pub(crate) fn failures(mut self, failures: impl IntoIterator<Item = Error>) -> Self {
        self.failures.extend(failures.into_iter().map(ApiError::from));
        self
    }
}
