//! `DELETE /events/:id`, `delete_event`

use nexus_common::{
    Error, Result,
    audit::Action,
    bookings::event_removal,
    events::broadcasts::EventDeleted,
    realtime::{AfterCommit, Broadcast},
};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    http::fields::Id,
    operations::{Call, Command, Done, seats},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct DeleteEvent {
    #[serde(rename = "eventId")]
    event_id: Id,
}

impl Command for DeleteEvent {
    type Response = EventDeleted;

    fn spec() -> Operation {
        Operation::command("delete_event", "Delete an event").failures([
            Error::EventNotFound,
            Error::EventTakenDown,
            Error::Forbidden("delete this event"),
            Error::EventHasBookings(2),
            Error::EventHasRefunds(2),
        ])
    }

    async fn run(self, call: Call) -> Result<Done> {
        let id = seats::event(&self.event_id)?;
        let _turn = call.turn(id).await?;
        let mut tx = call.begin().await?;
        let (name, audience) = event_removal::delete(&mut tx, id, call.user).await?;

        call.record(&mut tx, Action::EventDeleted, id, json!({})).await?;
        let message = format!("Event \"{name}\" deleted successfully");
        let deleted = EventDeleted { message, deleted_event_id: id };
        let mut after = AfterCommit::default();
        after.tell(Broadcast::new(audience, deleted.clone()));
        call.commit(tx, deleted, after).await
    }
}
