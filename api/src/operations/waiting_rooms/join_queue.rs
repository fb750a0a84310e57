//! `POST /events/:id/queue`, `join_queue`

use nexus_common::{
    Error, Result, realtime::AfterCommit, types::statuses::RoomState,
    waiting_rooms::visitors::Visitor,
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    http::fields::{Code, Id},
    operations::{Call, Command, Done, seats},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct JoinQueue {
    #[serde(rename = "eventId")]
    event_id: Id,
    share_code: Option<Code>,
}

impl Command for JoinQueue {
    type Response = Visitor;

    fn spec() -> Operation {
        Operation::command("join_queue", "Join an event's waiting room")
            .description("Once for each account, however often it asks. Whoever joins before the opening is drawn then; later ones come behind them in the order in which they join. Whoever has left, or has let their window pass, begins again.")
            .failures([
                Error::EventNotFound,
                Error::WaitingRoomNotFound,
                Error::WaitingRoomIs(RoomState::Closed),
                Error::ContactNotVerified,
            ])
    }

    async fn run(self, call: Call) -> Result<Done> {
        let event = seats::event(&self.event_id)?;
        let viewer = call.viewer(event, &self.share_code);
        call.app.reads.require_visible(event, viewer).await?;
        let visitor = call.app.waiting_rooms.join(event, call.user).await?;
        Done::new(visitor, AfterCommit::default())
    }
}
