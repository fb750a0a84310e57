//! `POST /auth/logout-all`: ends every session of the caller, this one included.

use nexus_common::{
    accounts::sessions,
    audit::{self, Action},
    storage::postgres,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::forget_sessions;
use crate::{
    app::App,
    auth::caller::Caller,
    http::api_error::ApiError,
    operations::{Endpoint, One},
    spec::operation::Operation,
};

#[derive(Default, Deserialize, ToSchema)]
pub(crate) struct LogoutAll {}

/// Every session has ended.
#[derive(Serialize, ToSchema)]
pub(crate) struct LoggedOutOfAll {
    message: &'static str,
    sessions_ended: usize,
}

impl Endpoint for LogoutAll {
    type Caller = Caller;
    type Response = One<LoggedOutOfAll>;

    fn spec() -> Operation {
        Operation::private("logout_all", "Log out of all sessions")
    }

    async fn run(self, app: App, caller: Caller) -> Result<Self::Response, ApiError> {
        let mut tx = postgres::begin(&app.db).await?;
        let ended = sessions::end_sessions(&mut tx, caller.user).await?;
        let (action, details) = (Action::SessionsEnded, json!({ "sessions": ended.count }));
        audit::record(&mut tx, action, Some(caller.user), caller.user, details).await?;
        tx.commit().await?;
        forget_sessions(&app, caller.user, &ended).await;
        Ok(One(LoggedOutOfAll {
            message: "Logged out of all sessions",
            sessions_ended: ended.count,
        }))
    }
}
