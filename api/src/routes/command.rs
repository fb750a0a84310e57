//! Commands over HTTP: everybody hears their broadcasts, the caller gets an envelope (CONTRACT.md, section 1).

use axum::{Json, extract::State};
use futures_util::future::BoxFuture;
use nexus_common::{
    Result,
    domain::{ids::UserId, input::Input},
};
use serde_json::{Value, json};

use crate::{
    app::App,
    commands::Done,
    error::Outcome,
    extract::{Caller, Fields},
};

type Answer = BoxFuture<'static, Outcome<Json<Value>>>;

/// Serves a command, answering `{"data": …}`.
pub(crate) fn act<F, Fut>(
    command: F,
) -> impl Fn(State<App>, Caller, Fields) -> Answer + Clone + Send + Sync + 'static
where
    F: Fn(App, UserId, Input) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Done>> + Send,
{
    handler(command, |data| json!({ "data": data }))
}

/// Serves a command, answering `{"success": true, "data": …}`.
pub(crate) fn act_with_success<F, Fut>(
    command: F,
) -> impl Fn(State<App>, Caller, Fields) -> Answer + Clone + Send + Sync + 'static
where
    F: Fn(App, UserId, Input) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Done>> + Send,
{
    handler(command, |data| json!({ "success": true, "data": data }))
}

fn handler<F, Fut>(
    command: F,
    envelope: fn(Value) -> Value,
) -> impl Fn(State<App>, Caller, Fields) -> Answer + Clone + Send + Sync + 'static
where
    F: Fn(App, UserId, Input) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Done>> + Send,
{
    move |State(app), caller, Fields(input)| {
        let command = command.clone();
        Box::pin(async move {
            let done = command(app.clone(), caller.user, input).await?;
            done.after.run(&app.cache, &app.everyone, &app.seats).await;
            Ok(Json(envelope(done.data)))
        })
    }
}
