//! `POST /auth/logout`

use chrono::Utc;
use nexus_common::{
    accounts::{sessions, tokens},
    storage::postgres,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
    /// Revoked, too, if it is the caller's.
    #[schema(value_type = Option<String>)]
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
            .description("Revokes the access token, and the refresh token if it is sent along.")
    }

    async fn run(self, app: App, caller: Caller) -> Result<Self::Response, ApiError> {
        let expires_at = app.signer.verify_access(&caller.token)?.expires_at;
        let mut tx = postgres::begin(&app.db).await?;
        let storage = app.settings.token_storage;
        sessions::revoke_access_token(&mut tx, caller.user, &caller.token, storage, expires_at)
            .await?;
        let refresh = match sent(&self.refresh_token).and_then(Field::read) {
            // Another user's token stays valid (docs/contract.md#change-12).
            Some(token) if sessions::revoke_refresh_token(&mut tx, caller.user, &token).await? => {
                Some(token)
            }
            _ => None,
        };
        tx.commit().await?;
        let left = (expires_at - Utc::now()).to_std().unwrap_or_default();
        app.tokens.revoke(&caller.token, left).await;
        revocations::revoked(&app, caller.user).await;
        if let Some(token) = refresh {
            app.tokens.drop_refresh_token(&token).await;
            // The Node service looks here first.
            app.tokens.revoke(&token, tokens::REFRESH_VALID).await;
        }
        Ok(One(Message { message: "Logout successful" }))
    }
}
