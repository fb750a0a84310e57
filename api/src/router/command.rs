//! Commands over HTTP: all listeners hear their broadcasts, and the caller gets an envelope
//! (docs/contract.md#transport). A command that a client repeats with the same `Idempotency-Key`
//! gets the same answer.

use std::time::Duration;

use axum::{
    Json,
    extract::{FromRequestParts, MatchedPath},
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, request::Parts};
use nexus_common::{
    Error, Result, audit,
    config::Limit,
    idempotency::{self, Begun, Reservation, StoredResponse},
    storage::postgres::{bounded, within},
    types::ids::UserId,
};
use serde_json::Value;
use tracing::Instrument;

use crate::{
    admission::carried,
    app::App,
    auth::caller::Caller,
    http::{
        api_error::{ApiError, Outcome},
        client_ip::ClientIp,
        policy::{DEADLINE, Envelope},
        request::{Fields, IDEMPOTENCY_KEY},
    },
    operations::{Call, Command},
};

/// Longer than any command takes: a request that still holds a key after that has died.
const LEASE: Duration = Duration::from_secs(60);

/// Marks a response as a repetition of the first one.
pub(crate) static REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The `Idempotency-Key` header and the route that it is used on.
pub(super) struct IdempotencyKey(Option<(String, String)>);

impl FromRequestParts<App> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Some(key) = parts.headers.get(IDEMPOTENCY_KEY) else {
            return Ok(IdempotencyKey(None));
        };
        let key = key
            .to_str()
            .ok()
            .filter(|key| (1..=255).contains(&key.len()))
            .ok_or_else(|| {
                Error::invalid("Idempotency-Key must be 1 to 255 visible ASCII characters")
            })?
            .to_owned();
        let path = MatchedPath::from_request_parts(parts, app).await.map_err(Error::internal)?;
        Ok(IdempotencyKey(Some((format!("{} {}", parts.method, path.as_str()), key))))
    }
}

impl IdempotencyKey {
    /// The request that the key stands for. Both the key and the digest come of the same header:
    /// there are both, or none.
    fn request(self, user: UserId, digest: Option<Vec<u8>>) -> Option<idempotency::Request> {
        let ((route, key), hash) = self.0.zip(digest)?;
        Some(idempotency::Request { user, route, key, hash })
    }
}

/// Serves a command.
pub(super) async fn command<C: Command>(
    app: App,
    Caller { user, .. }: Caller,
    address: ClientIp,
    key: IdempotencyKey,
    Fields { request, digest }: Fields<C>,
    envelope: Envelope,
) -> Outcome<Response> {
    let Some(idempotent) = key.request(user, digest) else {
        let call = Call { app, user, address, socket: None, reservation: None };
        return Ok(Json(envelope.wrap(carry_out(call, request).await?)).into_response());
    };
    let mut conn = app.db.acquire().await?;
    let begun = idempotency::begin(&mut conn, idempotent, LEASE).await?;
    drop(conn);
    match begun {
        Begun::Replay(stored) => replay(stored, envelope),
        Begun::First(reservation) => {
            // A separate task: a client that hangs up and asks again must find the response.
            let call =
                Call { app, user, address, socket: None, reservation: Some(reservation.clone()) };
            let once = carry_out_once(call, reservation, request).in_current_span();
            let once = tokio::spawn(carried(audit::on_behalf(once)));
            let data = once.await.map_err(Error::internal)??;
            Ok(Json(envelope.wrap(data)).into_response())
        }
    }
}

async fn carry_out(call: Call, command: impl Command) -> Result<Value> {
    let (app, user) = (call.app.clone(), call.user);
    let done = command.run(call).await?;
    app.seat_maps.changed(user);
    Ok(done.announce(&app, app.everyone.clone()).await)
}

/// Carries the command out and remembers the response, if the user has room for one more. Refusals
/// are responses, too; a transient failure gives the key back.
async fn carry_out_once(
    call: Call,
    reservation: Reservation,
    command: impl Command,
) -> Outcome<Value> {
    let app = call.app.clone();
    // Only now that the key is known to be a new one: what was carried out is answered as ever.
    let taken = match app.budgets.idempotency_key(call.user).await {
        Ok(taken) => taken,
        Err(error) => {
            settle(&app, &reservation, None).await;
            return Err(error.into());
        }
    };
    let result = within(DEADLINE, carry_out(call, command)).await.map_err(ApiError::from);
    let response = response_to_keep(&result);
    settle(&app, &reservation, response.as_ref()).await;
    if response.is_none() {
        app.budgets.give_back(&taken, &[Limit::IdempotencyKeys]).await;
    }
    result
}

/// What is answered when the request comes again; `None` if it is then carried out anew.
fn response_to_keep(result: &Outcome<Value>) -> Option<StoredResponse> {
    match result {
        Ok(data) => Some(StoredResponse::success(data)),
        Err(failure) if failure.may_pass() => None,
        Err(failure) => {
            StoredResponse::refusal(failure.status.as_u16(), &failure.code, &failure.message)
        }
    }
}

/// Remembers the response, or gives the key back.
async fn settle(app: &App, reservation: &Reservation, response: Option<&StoredResponse>) {
    let settled = bounded(async {
        let mut conn = app.db.acquire().await?;
        match response {
            Some(response) => reservation.complete(&mut conn, response).await.map(drop),
            None => reservation.release(&mut conn).await,
        }
    });
    if let Err(error) = settled.await {
        tracing::error!(
            error = error.details(),
            "the response to an idempotent request could not be stored"
        );
    }
}

fn replay(stored: StoredResponse, envelope: Envelope) -> Outcome<Response> {
    let mut response = match StatusCode::from_u16(stored.status) {
        Ok(StatusCode::OK) => Json(envelope.wrap(stored.body)).into_response(),
        Ok(status) => {
            let text = |field: &str| stored.body[field].as_str().unwrap_or_default().to_owned();
            ApiError::http(status, text("code"), text("message")).into_response()
        }
        Err(error) => return Err(Error::internal(error).into()),
    };
    response.headers_mut().insert(&REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}
