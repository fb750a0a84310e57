//! `GET /bookings/ticket-status/:jobId`

use nexus_common::{
    Error,
    tickets::views::{self, TicketJob},
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::caller::Caller,
    http::{
        api_error::ApiError,
        fields::{Field, Text},
    },
    operations::{Endpoint, One},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct GetTicketJob {
    #[schema(value_type = String)]
    job_id: Text,
}

impl Endpoint for GetTicketJob {
    type Caller = Caller;
    type Response = One<TicketJob>;

    fn spec() -> Operation {
        Operation::private("get_ticket_job", "Get the status of ticket generation")
            .failures([Error::TicketJobNotFound])
    }

    async fn run(self, app: App, caller: Caller) -> Result<Self::Response, ApiError> {
        let job = self.job_id.read().and_then(|id| id.parse().ok());
        let job = job.ok_or(Error::TicketJobNotFound)?;
        let mut conn = app.db.acquire().await?;
        Ok(One(views::job_status(&mut conn, job, caller.user).await?))
    }
}
