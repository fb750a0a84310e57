//! `GET /auth/me`

use nexus_common::{
    Error,
    accounts::users::{self, Profile},
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::caller::Caller,
    http::api_error::ApiError,
    operations::{Endpoint, One},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct GetMe {}

impl Endpoint for GetMe {
    type Caller = Caller;
    type Response = One<Profile>;

    fn spec() -> Operation {
        Operation::private("me", "Get the current user")
    }

    async fn run(self, app: App, caller: Caller) -> Result<Self::Response, ApiError> {
        let mut conn = app.db.acquire().await?;
        let profile = users::profile(&mut conn, caller.user).await?;
        Ok(One(profile.ok_or(Error::TokenInvalid)?))
    }
}
