//! `GET /transfers`

use nexus_common::tickets::transfers::{self, Transfer};
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
pub(crate) struct ListTransfers {}

impl Endpoint for ListTransfers {
    type Caller = Caller;
    type Response = All<Transfer>;

    fn spec() -> Operation {
        Operation::private("list_transfers", "List tickets that you offer, and are offered")
            .description("The newest hundred of each.")
    }

    async fn run(self, app: App, caller: Caller) -> Result<Self::Response, ApiError> {
        Ok(All(transfers::of_user(&mut *app.db.acquire().await?, caller.user).await?))
    }
}
