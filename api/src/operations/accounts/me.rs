//! `GET /auth/me`

use nexus_common::{
    Error,
    accounts::users::{self, User},
};
use serde::{Deserialize, Serialize};
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

/// Who the caller is.
#[derive(Serialize, ToSchema)]
pub(crate) struct Me {
    user: User,
}

impl Endpoint for GetMe {
    type Caller = Caller;
    type Response = One<Me>;

    fn spec() -> Operation {
        Operation::private("me", "Get the current user")
    }

    async fn run(self, app: App, caller: Caller) -> Result<Self::Response, ApiError> {
        let mut conn = app.db.acquire().await?;
        let user = users::get(&mut conn, caller.user).await?.ok_or(Error::TokenInvalid)?;
        Ok(One(Me { user }))
    }
}
