//! `GET /events`

use nexus_common::{
    events::views::{EventListItem, ListFilter},
    types::ids::UserId,
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::caller::MaybeCaller,
    http::{
        api_error::ApiError,
        fields::{Field, Id, Text, Truth, Whole, filled, page, sent},
    },
    operations::{Endpoint, Paged, Prepared},
    reads::lists,
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct ListEvents {
    /// Such as `draft`, for organisers who give their `organizer_id`, too.
    #[schema(value_type = Option<String>, max_length = 4096)]
    status: Option<Text>,
    #[schema(value_type = Option<Truth>)]
    is_public: Option<Text>,
    organizer_id: Option<Id>,
    #[schema(value_type = Option<i32>, minimum = 1, maximum = 100, default = 10)]
    limit: Option<Whole>,
    #[schema(value_type = Option<i32>, minimum = 0, default = 0)]
    offset: Option<Whole>,
}

impl Endpoint for ListEvents {
    type Caller = MaybeCaller;
    type Response = Prepared<Paged<EventListItem>>;

    fn spec() -> Operation {
        Operation::open_to_users("list_events", "List events, oldest first").description(
            "Published public events; organisers who filter for their own `organizer_id` see all of theirs.",
        )
    }

    async fn run(
        self,
        app: App,
        MaybeCaller(viewer): MaybeCaller,
    ) -> Result<Self::Response, ApiError> {
        let page = page(&self.limit, &self.offset)?;
        // As in the Node service, anything but a number is no filter.
        let organizer = sent(&self.organizer_id).and_then(Field::read).map(UserId);
        let status = match sent(&self.status).and_then(filled).map(|word| word.parse()) {
            None => None,
            Some(Ok(status)) => Some(status),
            // No event has such a status.
            Some(Err(_)) => return Ok(lists::response(&[], page.describe(0))?.into()),
        };
        let filter = ListFilter {
            own: viewer.is_some() && viewer == organizer,
            status,
            is_public: sent(&self.is_public).and_then(Field::read).map(|text| text == "true"),
            organizer,
        };
        Ok(app.reads.list(filter, page).await?.into())
    }
}
