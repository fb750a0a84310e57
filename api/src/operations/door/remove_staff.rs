//! `DELETE /events/:id/staff/:user`

use nexus_common::{
    Error, Result, audit::Action, door::staff, realtime::AfterCommit, types::ids::UserId,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::member;
use crate::{
    http::fields::Id,
    operations::{Call, Command, Done, seats},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct RemoveStaff {
    #[serde(rename = "eventId")]
    event_id: Id,
    #[serde(rename = "userId")]
    user_id: Id,
}

/// Somebody may not let people in any more.
#[derive(Serialize, ToSchema)]
pub(crate) struct RemovedStaff {
    message: &'static str,
    removed_user_id: UserId,
}

impl Command for RemoveStaff {
    type Response = RemovedStaff;

    fn spec() -> Operation {
        Operation::command("remove_staff", "Remove somebody from the staff of an event").failures([
            Error::EventNotFound,
            Error::Forbidden(staff::MANAGE),
            Error::StaffNotFound,
        ])
    }

    async fn run(self, call: Call) -> Result<Done> {
        let (event, user) = (seats::event(&self.event_id)?, member(&self.user_id)?);
        let mut tx = call.begin().await?;
        if !staff::remove(&mut tx, event, call.user, user).await? {
            return Err(Error::StaffNotFound);
        }
        call.record(&mut tx, Action::StaffRemoved, event, json!({ "user": user })).await?;
        let message = "Member of staff removed successfully";
        let data = RemovedStaff { message, removed_user_id: user };
        call.commit(tx, data, AfterCommit::default()).await
    }
}
