//! `GET /bookings/:id`

use nexus_common::{Error, bookings::views::BookingDetail, storage::postgres::promptly_from};
use serde::Deserialize;
use utoipa::ToSchema;

use super::viewed;
use crate::{
    app::App,
    auth::caller::Caller,
    http::{api_error::ApiError, fields::Id},
    operations::{Endpoint, One},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct GetBooking {
    booking_id: Id,
}

impl Endpoint for GetBooking {
    type Caller = Caller;
    type Response = One<BookingDetail>;

    fn spec() -> Operation {
        Operation::private("get_booking", "Get a booking").failures([Error::BookingNotFound])
    }

    async fn run(self, app: App, caller: Caller) -> Result<Self::Response, ApiError> {
        let id = viewed(&self.booking_id)?;
        let details = app.booking_details.call((id, caller.user));
        Ok(One(promptly_from(&app.db, details).await?))
    }
}
