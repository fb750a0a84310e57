//! `GET /auth/sessions`

use nexus_common::accounts::sessions::{self, Session};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::caller::Caller,
    http::api_error::ApiError,
    operations::{All, Endpoint},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct ListSessions {}

impl Endpoint for ListSessions {
    type Caller = Caller;
    type Response = All<Session>;

    fn spec() -> Operation {
        Operation::private("list_sessions", "List the own sessions")
            .description("The last used first. Sessions from before there was this list are not in it; `logout-all` ends them, too.")
    }

    async fn run(self, app: App, caller: Caller) -> Result<Self::Response, ApiError> {
        let current = app.signer.verify_access(&caller.token)?.session;
        let sessions = sessions::list(&mut *app.db.acquire().await?, caller.user, current).await?;
        Ok(All(sessions))
    }
}
