//! `GET /bookings/:id/tickets.pdf`

use nexus_common::Error;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{files, viewed};
use crate::{
    app::App,
    auth::caller::Caller,
    http::{api_error::ApiError, fields::Id},
    operations::{Download, Endpoint},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct GetTicketsPdf {
    booking_id: Id,
}

impl Endpoint for GetTicketsPdf {
    type Caller = Caller;
    type Response = Download;

    fn spec() -> Operation {
        Operation::private("get_tickets_pdf", "Get the tickets of a booking as a PDF")
            .description("A page for each ticket of a confirmed booking, as it is mailed.")
            .file_response(&["application/pdf"])
            .failures([Error::BookingNotFound, Error::TicketsNotFound])
    }

    async fn run(self, app: App, caller: Caller) -> Result<Self::Response, ApiError> {
        let booking = viewed(&self.booking_id)?;
        let delivery = files::delivery(&app, caller.user, booking).await?;
        let pdf = files::make(&app, caller.user, move |files| files.pdf(&delivery)).await?;
        Ok(Download(pdf.ok_or(Error::TicketsNotFound)?))
    }
}
