//! `DELETE /auth/sessions/:id`

use nexus_common::{
    Error,
    accounts::sessions,
    audit::{self, Action},
    storage::postgres,
    types::ids::SessionId,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::forget_session;
use crate::{
    app::App,
    auth::caller::Caller,
    http::{
        api_error::ApiError,
        fields::{Text, filled},
    },
    operations::{Endpoint, One},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct EndSession {
    #[schema(value_type = SessionId)]
    session_id: Text,
}

/// The session has ended: its tokens are worth nothing any more.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionEnded {
    message: &'static str,
    ended_session_id: SessionId,
}

impl Endpoint for EndSession {
    type Caller = Caller;
    type Response = One<SessionEnded>;

    fn spec() -> Operation {
        Operation::private("end_session", "End one of the own sessions")
            .failures([Error::SessionNotFound])
    }

    async fn run(self, app: App, caller: Caller) -> Result<Self::Response, ApiError> {
        let id = filled(&self.session_id).and_then(|id| id.parse().ok()).map(SessionId);
        let session = id.ok_or(Error::SessionNotFound)?;
        let mut tx = postgres::begin(&app.db).await?;
        let ended = sessions::end_session(&mut tx, caller.user, session).await?;
        let ended = ended.ok_or(Error::SessionNotFound)?;
        let (action, details) = (Action::SessionsEnded, json!({ "session": session }));
        audit::record(&mut tx, action, Some(caller.user), caller.user, details).await?;
        tx.commit().await?;
        forget_session(&app, caller.user, session, &ended).await;
        Ok(One(SessionEnded { message: "Session ended", ended_session_id: session }))
    }
}
