//! `GET /events/:id/door`

use std::time::Duration;

use nexus_common::{
    Error,
    door::{
        access,
        bundles::{self, SignedBundle, Version},
    },
    types::usage::Usage,
};
use serde::Deserialize;
use utoipa::{ToSchema, openapi::ObjectBuilder, openapi::Type};

use crate::{
    app::App,
    auth::caller::DoorCaller,
    http::{
        api_error::ApiError,
        fields::{Field, Id, field, sent},
    },
    operations::{Endpoint, One, seats},
    spec::operation::Operation,
};

field!(
    Since: Version = |value| value.as_str().and_then(Version::parse),
    ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[0-9]{1,18}-[0-9]{1,18}$")).max_length(Some(37))
        .description(Some("The version of the bundle that the scanner has: it is told what has changed since."))
);

#[derive(Deserialize, ToSchema)]
pub(crate) struct GetDoor {
    #[serde(rename = "eventId")]
    event_id: Id,
    since: Option<Since>,
}

impl Endpoint for GetDoor {
    type Caller = DoorCaller;
    type Response = One<SignedBundle>;

    fn spec() -> Operation {
        let usage = Usage { limit: 60, used: 60, until_room: Duration::from_secs(60) };
        Operation::at_the_door("get_door", "Get what a scanner needs to work offline")
            .description("Keys, void codes, who is in, gates and counts, signed. What is in the bundle, and how a scanner works with it: `docs/door.md`.")
            .failures([
                Error::EventNotFound,
                Error::Forbidden(access::LET_IN),
                Error::RateLimited(usage),
            ])
    }

    async fn run(
        self,
        app: App,
        DoorCaller(keeper): DoorCaller,
    ) -> Result<Self::Response, ApiError> {
        let event = seats::event(&self.event_id)?;
        let unreadable = || Error::invalid("since must be the version of a bundle");
        let since =
            sent(&self.since).map(|since| since.read().ok_or_else(unreadable)).transpose()?;
        let mut conn = app.db.acquire().await?;
        let door = access::door(&mut conn, event, keeper, app.settings.door_opens).await?;
        let span = bundles::span(&mut conn, event, since).await?;
        // Redis is not waited for with a connection in hand.
        drop(conn);
        if span.is_whole() {
            app.budgets.bundle(keeper).await?;
        }
        let mut conn = app.db.acquire().await?;
        let bundle = bundles::read(&mut conn, &door, span, &app.bundle_keys).await?;
        Ok(One(app.bundle_keys.sign(&bundle)?))
    }
}
