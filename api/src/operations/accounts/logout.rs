//! `POST /auth/logout`

use chrono::Utc;
use nexus_common::{
    accounts::sessions,
    audit::{self, Action},
    storage::postgres,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::forget_session;
use crate::{
    app::App,
    auth::caller::Caller,
    auth::revocations,
    http::{
        api_error::ApiError,
        fields::{Field, Text, sent},
    },
    operations::{Endpoint, One},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Logout {
    /// Revoked with its session, too, if it is the caller's.
    #[schema(value_type = Option<String>, max_length = 4096)]
    refresh_token: Option<Text>,
}

/// A sentence for people.
#[derive(Serialize, ToSchema)]
pub(crate) struct Message {
    message: &'static str,
}

impl Endpoint for Logout {
    type Caller = Caller;
    type Response = One<Message>;

    fn spec() -> Operation {
        Operation::private("logout", "Log out")
            .description("Ends the session: all of its tokens are revoked. So is another session of the caller whose refresh token is sent along.")
    }

    async fn run(self, app: App, caller: Caller) -> Result<Self::Response, ApiError> {
        let verified = app.signer.verify_access(&caller.token)?;
        let expires_at = verified.expires_at;
        let mut tx = postgres::begin(&app.db).await?;
        let storage = app.settings.token_storage;
        sessions::revoke_access_token(&mut tx, caller.user, &caller.token, storage, expires_at)
            .await?;
        let mut revoked = Vec::new();
        if let Some(session) = verified.session {
            let ended = sessions::end_session(&mut tx, caller.user, session).await?;
            revoked.extend(ended.unwrap_or_default());
        }
        if let Some(token) = sent(&self.refresh_token).and_then(Field::read) {
            // Another user's token stays valid (docs/contract.md#change-12).
            revoked.extend(sessions::revoke_refresh_token(&mut tx, caller.user, &token).await?);
        }
        let details = json!({ "session": verified.session });
        let action = Action::SignedOut;
        audit::record(&mut tx, action, Some(caller.user), caller.user, details).await?;
        tx.commit().await?;
        let left = (expires_at - Utc::now()).to_std().unwrap_or_default();
        app.tokens.revoke(&caller.token, left).await;
        match verified.session {
            Some(session) => forget_session(&app, caller.user, session, &revoked).await,
            None => {
                app.tokens.revoke_refresh_tokens(&revoked).await;
                revocations::revoked(&app, caller.user).await;
            }
        }
        Ok(One(Message { message: "Logout successful" }))
    }
}
