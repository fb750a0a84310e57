//! What clients can ask for, one file per operation: its request, its response, its text in the API
//! documents, and its function. [`router`](crate::router) gives each its place in HTTP, and
//! [`socketio`](crate::socketio) lists those that are also commands over a
//! socket.

pub(crate) mod accounts;
pub(crate) mod bookings;
pub(crate) mod door;
pub(crate) mod events;
pub(crate) mod payments;
pub(crate) mod seats;
pub(crate) mod service;
pub(crate) mod tickets;
pub(crate) mod waiting_rooms;

use std::marker::PhantomData;

use axum::{
    Json,
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::header;
use nexus_common::{
    Error, Result,
    audit::{self, Action, Subject},
    bookings::changes,
    events::turns::Turn,
    idempotency::{Reservation, StoredResponse},
    jobs::wakeups,
    realtime::{AfterCommit, Publish},
    seats::{lock::WonLocks, selection::Selection},
    storage::postgres::{self, promptly_from},
    types::{
        file::File,
        ids::{BookingId, EventId, UserId},
        page::Pagination,
        visibility::{ShareCode, Viewer},
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sqlx::{PgConnection, PgTransaction};
use utoipa::ToSchema;

use crate::{
    app::App,
    http::{
        api_error::ApiError,
        client_ip::ClientIp,
        fields::{AdmissionToken, Code, Field},
        policy::{Envelope, json_of},
    },
    reads::body::Body,
    socketio::server::Socket,
    spec::operation::Operation,
};

/// An operation that changes something: for users, over HTTP and over sockets. With an
/// `Idempotency-Key` it happens once, however often a client sends it.
///
/// The type is the request: path segments, query parameters and body, or a socket's payload.
pub(crate) trait Command: DeserializeOwned + ToSchema + Send + 'static {
    /// The `data` of a success.
    type Response: Serialize + ToSchema;

    /// Its text in the API documents, besides its request and response.
    fn spec() -> Operation;

    /// Carries it out.
    fn run(self, call: Call) -> impl Future<Output = Result<Done>> + Send;

    /// Its whole description in the API documents.
    fn described() -> Operation {
        Self::spec().request::<Self>().response::<Self::Response>()
    }
}

/// Any other operation, over HTTP only: a read, or something that concerns an account.
pub(crate) trait Endpoint: DeserializeOwned + ToSchema + Send + 'static {
    /// Who may ask, and what is known of the caller.
    type Caller: FromRequestParts<App> + Send;
    /// The content of a success.
    type Response: Respond;

    /// Its text in the API documents, besides its request and response.
    fn spec() -> Operation;

    /// Answers it.
    fn run(
        self,
        app: App,
        caller: Self::Caller,
    ) -> impl Future<Output = Result<Self::Response, ApiError>> + Send;

    /// Its whole description in the API documents.
    fn described() -> Operation {
        Self::Response::describe(Self::spec().request::<Self>())
    }
}

/// The content of a success.
pub(crate) trait Respond {
    /// Describes it in the API documents.
    fn describe(operation: Operation) -> Operation;

    /// The response, in its envelope.
    fn respond(self, envelope: Envelope) -> Result<Response, ApiError>;
}

/// A single item.
pub(crate) struct One<T>(pub(crate) T);

/// Several items.
pub(crate) struct All<T>(pub(crate) Vec<T>);

/// A page of a list.
pub(crate) struct Paged<T>(pub(crate) Vec<T>, pub(crate) Pagination);

/// A file to keep. Its types are in the operation's text ([`Operation::file_response`]).
pub(crate) struct Download(pub(crate) File);

/// A response that was made for many callers; described as the content that it stands for.
pub(crate) struct Prepared<R>(Body, PhantomData<R>);

impl<R> From<Body> for Prepared<R> {
    fn from(body: Body) -> Self {
        Prepared(body, PhantomData)
    }
}

impl<T: Serialize + ToSchema> Respond for One<T> {
    fn describe(operation: Operation) -> Operation {
        operation.response::<T>()
    }

    fn respond(self, envelope: Envelope) -> Result<Response, ApiError> {
        Ok(Json(envelope.wrap(json_of(self.0)?)).into_response())
    }
}

impl<T: Serialize + ToSchema> Respond for All<T> {
    fn describe(operation: Operation) -> Operation {
        operation.list_response::<T>()
    }

    fn respond(self, envelope: Envelope) -> Result<Response, ApiError> {
        Ok(Json(envelope.wrap(json_of(self.0)?)).into_response())
    }
}

impl<T: Serialize + ToSchema> Respond for Paged<T> {
    fn describe(operation: Operation) -> Operation {
        operation.page_response::<T>()
    }

    fn respond(self, envelope: Envelope) -> Result<Response, ApiError> {
        let mut body = envelope.wrap(json_of(self.0)?);
        body["pagination"] = json_of(self.1)?;
        Ok(Json(body).into_response())
    }
}

impl Respond for Download {
    fn describe(operation: Operation) -> Operation {
        operation
    }

    fn respond(self, _: Envelope) -> Result<Response, ApiError> {
        let File { name, media_type, content } = self.0;
        // The name is ASCII without quotation marks.
        let disposition = format!("attachment; filename=\"{name}\"");
        let headers = [
            (header::CONTENT_TYPE, media_type),
            (header::CONTENT_DISPOSITION, disposition.as_str()),
        ];
        Ok((headers, content).into_response())
    }
}

impl<R: Respond> Respond for Prepared<R> {
    fn describe(operation: Operation) -> Operation {
        R::describe(operation)
    }

    fn respond(self, _: Envelope) -> Result<Response, ApiError> {
        let Body { json, tag } = self.0;
        let mut response = json.into_response("application/json");
        response.headers_mut().extend(tag.map(|tag| (header::ETAG, tag)));
        Ok(response)
    }
}

/// A caller's request for a command.
pub(crate) struct Call {
    pub(crate) app: App,
    pub(crate) user: UserId,
    /// From where it comes.
    pub(crate) address: ClientIp,
    /// The socket over which it has come.
    pub(crate) socket: Option<Socket>,
    /// Reserved for the request's `Idempotency-Key`, if it has one.
    pub(crate) reservation: Option<Reservation>,
}

/// A command that was carried out and committed.
pub(crate) struct Done {
    /// The response's `data`.
    pub(crate) data: Value,
    /// Broadcasts and changes in Redis; the transport of the command decides who hears them.
    after: AfterCommit,
    /// Whether the caller is told at once: it has what others can no longer have, and needs nobody
    /// to know that yet.
    at_once: bool,
}

impl Done {
    pub(crate) fn new(data: impl Serialize, after: AfterCommit) -> Result<Self> {
        Ok(Done { data: json_of(data)?, after, at_once: false })
    }

    /// The same for a caller who is told at once.
    pub(crate) fn at_once(data: impl Serialize, after: AfterCommit) -> Result<Self> {
        Ok(Done { at_once: true, ..Done::new(data, after)? })
    }

    /// Tells clients through `publisher`, and returns the response's `data` when it can be sent.
    pub(crate) async fn announce(self, app: &App, publisher: impl Publish) -> Value {
        match self.at_once {
            true => app.followers.follow(self.after, publisher),
            false => app.followers.run(self.after, publisher).await,
        }
        self.data
    }
}

impl Call {
    /// Waits for a turn at the inventory of `event`, before the command takes a connection: an
    /// event whose inventory is held may take a share of the connections, but not all.
    async fn turn(&self, event: EventId) -> Result<Turn> {
        self.app.turns.turn(event).await
    }

    /// The same for a booking's event, if the booking exists.
    async fn turn_of(&self, booking: BookingId) -> Result<Option<Turn>> {
        // Gives the connection back before the wait for the turn.
        let event = async { changes::event(&mut *self.app.db.acquire().await?, booking).await };
        match promptly_from(&self.app.db, event).await? {
            Some(event) => Ok(Some(self.turn(event).await?)),
            None => Ok(None),
        }
    }

    /// As whom the caller looks at an event: with the share code that comes with the request, or
    /// with which the socket has joined it.
    fn viewer(&self, event: EventId, sent: &Option<Code>) -> Viewer {
        let code = sent.as_ref().and_then(Code::read).or_else(|| self.joined_with(event));
        Viewer { user: Some(self.user), code }
    }

    /// Locks seats for the caller, who may have been admitted by an outside waiting room.
    async fn lock(
        &self,
        code: Option<ShareCode>,
        admission: &Option<AdmissionToken>,
        selection: Selection,
    ) -> Result<WonLocks> {
        let viewer = Viewer { user: Some(self.user), code };
        let token = admission.as_ref().and_then(AdmissionToken::read);
        let rooms = &self.app.waiting_rooms;
        let is_admitted = rooms.admit(selection.event, self.user, viewer, token.as_deref()).await?;
        let network = self.app.addresses.network(self.address.widest());
        self.app.locks.lock(self.user, network, code, is_admitted, selection).await
    }

    /// The share code with which the socket has joined the event.
    fn joined_with(&self, event: EventId) -> Option<ShareCode> {
        self.app.everyone.listeners.joined_with(self.socket.as_ref()?, event)
    }

    /// Begins the command's transaction.
    async fn begin(&self) -> Result<PgTransaction<'static>> {
        postgres::begin(&self.app.db).await
    }

    /// Records that the caller does this, with the command's transaction.
    async fn record(
        &self,
        conn: &mut PgConnection,
        action: Action,
        subject: impl Into<Subject>,
        details: Value,
    ) -> Result<()> {
        audit::record(conn, action, Some(self.user), subject, details).await
    }

    /// Commits the command together with its response, so that no crash can separate the two: a
    /// request that a client repeats with the same `Idempotency-Key` is never carried out twice.
    async fn commit(
        &self,
        mut tx: PgTransaction<'static>,
        data: impl Serialize,
        after: AfterCommit,
    ) -> Result<Done> {
        let done = Done::new(data, after)?;
        if let Some(reservation) = &self.reservation {
            let stored = StoredResponse::success(&done.data);
            if !reservation.complete(&mut tx, &stored).await? {
                return Err(Error::RequestInFlight);
            }
        }
        tx.commit().await?;
        wakeups::committed();
        Ok(done)
    }
}
