//! `GET /bookings/:id/calendar.ics`

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
pub(crate) struct GetCalendar {
    booking_id: Id,
}

impl Endpoint for GetCalendar {
    type Caller = Caller;
    type Response = Download;

    fn spec() -> Operation {
        Operation::private("get_calendar", "Get the event of a booking for a calendar")
            .description("For a confirmed booking whose tickets have been made. A calendar that has the entry already replaces it.")
            .file_response(&["text/calendar"])
            .failures([Error::BookingNotFound, Error::TicketsNotFound])
    }

    async fn run(self, app: App, caller: Caller) -> Result<Self::Response, ApiError> {
        let booking = viewed(&self.booking_id)?;
        let delivery = files::delivery(&app, caller.user, booking).await?;
        Ok(Download(app.files.calendar(&delivery)))
    }
}
