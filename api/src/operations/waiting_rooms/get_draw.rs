//! `GET /events/:id/queue/draw`

use nexus_common::{
    Error,
    waiting_rooms::draw::{self, Draw},
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::caller::MaybeCaller,
    http::{
        api_error::ApiError,
        fields::{Code, Field, Id, Whole, viewer},
    },
    operations::{Endpoint, One, seats},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct GetDraw {
    #[serde(rename = "eventId")]
    event_id: Id,
    share_code: Option<Code>,
    /// The position before the first that is wanted.
    after: Option<Whole>,
}

impl Endpoint for GetDraw {
    type Caller = MaybeCaller;
    type Response = One<Draw>;

    fn spec() -> Operation {
        Operation::open_to_users("get_draw", "Get what the draw of a waiting room can be checked with")
            .description("After the draw; ten thousand visitors at a time. `ops/verify-draw.mjs` checks it, and `docs/waiting-room.md` says how.")
            .failures([Error::EventNotFound, Error::DrawNotFound])
    }

    async fn run(
        self,
        app: App,
        MaybeCaller(user): MaybeCaller,
    ) -> Result<Self::Response, ApiError> {
        let event = seats::event(&self.event_id)?;
        app.reads.require_visible(event, viewer(user, &self.share_code)).await?;
        let after = self.after.as_ref().and_then(Whole::read).unwrap_or(0).max(0);
        Ok(One(draw::published(&mut *app.db.acquire().await?, event, after).await?))
    }
}
