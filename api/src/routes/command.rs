//! Commands over HTTP: everybody hears their broadcasts, the caller gets an envelope
//! (docs/contract.md#transport). With an `Idempotency-Key` a command that is sent again is answered
//! what it was answered before.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue, StatusCode};
use nexus_common::{
    Error, Result,
    idempotency::{self, Answer, Begun, Reservation},
    observability::traces,
    storage::postgres::{bounded, within},
};
use serde_json::{Value, json};
use tracing::Instrument;

use crate::{
    app::App,
    commands::{Call, Done},
    error::{Failure, Outcome},
    extract::{Caller, Fields, IdempotencyKey},
    middleware::requests::DEADLINE,
};

/// Longer than any command takes: whoever still holds a key then has died.
const LEASE: Duration = Duration::from_secs(60);

/// Says that an answer is the first one's.
pub(crate) static REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

type Envelope = fn(Value) -> Value;
type Answering = BoxFuture<'static, Outcome<Response>>;

/// Serves a command, answering `{"data": …}`.
pub(crate) fn act<F, Fut>(
    command: F,
) -> impl Fn(State<App>, Caller, IdempotencyKey, Fields) -> Answering + Clone + Send + Sync + 'static
where
    F: Fn(Call) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Done>> + Send + 'static,
{
    handler(command, |data| json!({ "data": data }))
}

/// Serves a command, answering `{"success": true, "data": …}`.
pub(crate) fn act_with_success<F, Fut>(
    command: F,
) -> impl Fn(State<App>, Caller, IdempotencyKey, Fields) -> Answering + Clone + Send + Sync + 'static
where
    F: Fn(Call) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Done>> + Send + 'static,
{
    handler(command, |data| json!({ "success": true, "data": data }))
}

fn handler<F, Fut>(
    command: F,
    envelope: Envelope,
) -> impl Fn(State<App>, Caller, IdempotencyKey, Fields) -> Answering + Clone + Send + Sync + 'static
where
    F: Fn(Call) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Done>> + Send + 'static,
{
    move |State(app), caller, key, Fields(input)| {
        let command = command.clone();
        Box::pin(async move {
            let Some(request) = key.request(caller.user, &input) else {
                let call = Call { app, user: caller.user, input, reservation: None };
                return Ok(Json(envelope(carry_out(call, command).await?)).into_response());
            };
            let mut conn = app.db.acquire().await?;
            let begun = idempotency::begin(&mut conn, request, LEASE).await?;
            drop(conn);
            match begun {
                Begun::Answered(answer) => replay(answer, envelope),
                Begun::First(reservation) => {
                    let call =
                        Call { app, user: caller.user, input, reservation: Some(reservation) };
                    // In a task of its own: a client that hangs up and asks again shall find the
                    // answer.
                    let once = carry_out_once(call, command).in_current_span();
                    let once = tokio::spawn(traces::carried(once));
                    let data = once.await.map_err(Error::internal)??;
                    Ok(Json(envelope(data)).into_response())
                }
            }
        })
    }
}

async fn carry_out<F, Fut>(call: Call, command: F) -> Result<Value>
where
    F: Fn(Call) -> Fut,
    Fut: Future<Output = Result<Done>>,
{
    let (app, user) = (call.app.clone(), call.user);
    let done = command(call).await?;
    app.seat_maps.changed(user);
    done.after.run(&app.cache, &app.everyone, &app.seats).await;
    Ok(done.data)
}

/// Also remembers the answer. Refusals are answers, too; a failure that may pass gives the key
/// back.
async fn carry_out_once<F, Fut>(call: Call, command: F) -> Outcome<Value>
where
    F: Fn(Call) -> Fut,
    Fut: Future<Output = Result<Done>>,
{
    let (app, reservation) = (call.app.clone(), call.reservation.clone());
    let result = within(DEADLINE, carry_out(call, command)).await.map_err(Failure::from);
    if let Some(reservation) = reservation
        && let Err(error) = bounded(remember(&app, &reservation, &result)).await
    {
        tracing::error!(
            error = error.details(),
            "the answer to an idempotent request could not be stored"
        );
    }
    result
}

async fn remember(app: &App, reservation: &Reservation, result: &Outcome<Value>) -> Result<()> {
    let mut conn = app.db.acquire().await?;
    let answer = match result {
        Ok(data) => Answer { status: 200, body: data.clone() },
        Err(failure) if failure.may_pass() => return reservation.release(&mut conn).await,
        Err(failure) => Answer {
            status: failure.status.as_u16(),
            body: json!({ "code": failure.code, "message": failure.message }),
        },
    };
    reservation.complete(&mut conn, &answer).await.map(drop)
}

fn replay(answer: Answer, envelope: Envelope) -> Outcome<Response> {
    let mut response = match StatusCode::from_u16(answer.status) {
        Ok(StatusCode::OK) => Json(envelope(answer.body)).into_response(),
        Ok(status) => {
            let text = |field: &str| answer.body[field].as_str().unwrap_or_default().to_owned();
            Failure::http(status, text("code"), text("message")).into_response()
        }
        Err(error) => return Err(Error::internal(error).into()),
    };
    response.headers_mut().insert(&REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}
