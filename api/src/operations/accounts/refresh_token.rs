//! `POST /auth/refresh-token`

use nexus_common::{Error, accounts::sessions};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::caller::Anybody,
    http::{
        api_error::ApiError,
        fields::{Field, Text},
    },
    operations::{Endpoint, One},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RefreshToken {
    #[schema(value_type = String, min_length = 1)]
    refresh_token: Text,
}

/// A new access token.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Refreshed {
    access_token: String,
    message: &'static str,
}

impl Endpoint for RefreshToken {
    type Caller = Anybody;
    type Response = One<Refreshed>;

    fn spec() -> Operation {
        Operation::open("refresh_token", "Refresh the access token")
            .description("The refresh token stays usable.")
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
        let access_token = app.signer.access(user)?;
        let mut conn = app.db.acquire().await?;
        sessions::check_refresh_token(&mut conn, user, &token).await?;
        Ok(One(Refreshed { access_token, message: "Access token refreshed successfully" }))
    }
}
