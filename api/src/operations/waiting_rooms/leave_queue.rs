//! `DELETE /events/:id/queue`, `leave_queue`

use nexus_common::{
    Error, Result,
    realtime::AfterCommit,
    waiting_rooms::visitors::{self, Visitor},
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    http::fields::Id,
    operations::{Call, Command, Done, seats},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct LeaveQueue {
    #[serde(rename = "eventId")]
    event_id: Id,
}

impl Command for LeaveQueue {
    type Response = Visitor;

    fn spec() -> Operation {
        Operation::command("leave_queue", "Leave an event's waiting room")
            .description("The position, or the window, is lost: whoever joins again comes behind all others. Seats that are locked stay locked.")
            .failures([Error::VisitorNotFound])
    }

    async fn run(self, call: Call) -> Result<Done> {
        let event = seats::event(&self.event_id)?;
        let mut tx = call.begin().await?;
        let left = visitors::leave(&mut tx, event, call.user).await?;
        let visitor = left.ok_or(Error::VisitorNotFound)?;
        let done = call.commit(tx, visitor, AfterCommit::default()).await?;
        call.app.waiting_rooms.forget(event, call.user);
        Ok(done)
    }
}
