//! `POST /auth/check-unique-username`

use nexus_common::{Error, accounts::users};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::caller::Anybody,
    http::{
        api_error::ApiError,
        fields::{Text, filled},
    },
    operations::{Endpoint, One},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct CheckUsername {
    #[schema(
        value_type = String,
        min_length = 1,
        max_length = 4096,
        pattern = r"[^\s\x00-\x1f\x7f-\x9f]",
        example = "asha"
    )]
    username: Text,
}

/// Whether a username is free.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UsernameChecked {
    is_available: bool,
    username: String,
    message: &'static str,
}

impl Endpoint for CheckUsername {
    type Caller = Anybody;
    type Response = One<UsernameChecked>;

    fn spec() -> Operation {
        Operation::open("check_username", "Check whether a username is available")
    }

    async fn run(self, app: App, _: Anybody) -> Result<Self::Response, ApiError> {
        let username = filled(&self.username);
        let username = username.ok_or_else(|| Error::invalid("Username is required"))?;
        let username = username.to_lowercase();
        let mut conn = app.db.acquire().await?;
        let is_available = users::username_is_available(&mut conn, &username).await?;
        let message =
            if is_available { "Username is available" } else { "Username is already taken" };
        Ok(One(UsernameChecked { is_available, username, message }))
    }
}
