//! `POST /auth/refresh-token`

use nexus_common::{
    Error,
    accounts::sessions::{self, Refresh},
    audit::{self, Action},
    storage::postgres,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::forget_session;
use crate::{
    app::App,
    auth::caller::Anybody,
    http::{
        api_error::ApiError,
        fields::{Field, Text, Truth, sent},
    },
    operations::{Endpoint, One},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RefreshToken {
    #[schema(value_type = String, max_length = 4096, min_length = 1)]
    refresh_token: Text,
    /// Whether the refresh token is to be replaced. Then it can be used for ten more seconds, for
    /// the same successor; after that, whoever uses it ends the session.
    rotate: Option<Truth>,
}

/// A new access token.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Refreshed {
    access_token: String,
    /// To be used from now on, if the request has asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    refresh_token: Option<String>,
    message: &'static str,
}

impl Endpoint for RefreshToken {
    type Caller = Anybody;
    type Response = One<Refreshed>;

    fn spec() -> Operation {
        Operation::open("refresh_token", "Refresh the access token")
            .description("The refresh token stays usable, unless the request asks for another one. A session that is older than the installation lets it be is not continued: the user logs in again.")
            .failures([
                Error::RefreshInvalid,
                Error::RefreshRevoked,
                Error::RefreshUnknown,
                Error::TokenType,
            ])
    }

    async fn run(self, app: App, _: Anybody) -> Result<Self::Response, ApiError> {
        let missing = || Error::invalid("Refresh token is required");
        if self.refresh_token.get().is_none() {
            return Err(missing().into());
        }
        let token = self.refresh_token.read().ok_or(Error::RefreshInvalid)?;
        if token.is_empty() {
            return Err(missing().into());
        }
        let verified = app.signer.verify_refresh(&token)?;
        let user = verified.user;
        if app.tokens.is_revoked(&token, &verified).await == Some(true) {
            return Err(Error::RefreshRevoked.into());
        }
        // Before the last look at the refresh token: see `check_refresh_token`.
        let access_token = app.signer.access(user, verified.session)?;
        let longest = app.settings.longest_session;
        let mut tx = postgres::begin(&app.db).await?;
        let session = match sessions::check_refresh_token(&mut tx, user, &token, longest).await? {
            Refresh::Of(session) => session,
            Refresh::Reused(session) => {
                let ended = sessions::end_session(&mut tx, user, session).await?;
                let details = json!({ "session": session, "why": "a replaced token was used" });
                audit::record(&mut tx, Action::SessionsEnded, None, user, details).await?;
                tx.commit().await?;
                forget_session(&app, user, session, &ended.unwrap_or_default()).await;
                tracing::warn!(%user, "a replaced refresh token was used again: its session has ended");
                return Err(Error::RefreshRevoked.into());
            }
        };
        let wants_another = sent(&self.rotate).and_then(Field::read).unwrap_or_default();
        let refresh_token = match session {
            Some(session) if wants_another => {
                let (of, storage) = ((user, session), app.settings.token_storage);
                Some(sessions::rotate(&mut tx, &app.signer, of, &token, storage, longest).await?)
            }
            Some(session) => {
                sessions::touch(&mut tx, session).await?;
                None
            }
            // Tokens from before there were sessions stay as they are.
            None => wants_another.then(|| token.clone()),
        };
        tx.commit().await?;
        if let Some(another) = &refresh_token {
            app.tokens.keep_refresh_token(another, user).await;
        }
        Ok(One(Refreshed {
            access_token,
            refresh_token,
            message: "Access token refreshed successfully",
        }))
    }
}
