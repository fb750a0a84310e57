//! `GET /bookings/my-bookings`

use nexus_common::{
    bookings::views::{ListedBooking, Listing},
    storage::postgres::promptly_from,
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::caller::Caller,
    http::{
        api_error::ApiError,
        fields::{Text, Whole, filled, page, sent},
    },
    operations::{Endpoint, Paged},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct ListBookings {
    /// Such as `confirmed`.
    #[schema(value_type = Option<String>, max_length = 4096)]
    status: Option<Text>,
    #[schema(value_type = Option<i32>, minimum = 1, maximum = 100, default = 10)]
    limit: Option<Whole>,
    #[schema(value_type = Option<i32>, minimum = 0, default = 0)]
    offset: Option<Whole>,
}

impl Endpoint for ListBookings {
    type Caller = Caller;
    type Response = Paged<ListedBooking>;

    fn spec() -> Operation {
        Operation::private("list_bookings", "List your bookings, newest first")
    }

    async fn run(self, app: App, caller: Caller) -> Result<Self::Response, ApiError> {
        let page = page(&self.limit, &self.offset)?;
        let status = sent(&self.status).and_then(filled);
        let listing = Listing { user: caller.user, status, page };
        let (bookings, total) = promptly_from(&app.db, app.booking_lists.call(listing)).await?;
        Ok(Paged(bookings, page.describe(total)))
    }
}
