//! `POST /events/:id/staff`

use std::time::Duration;

use nexus_common::{
    Error, Result,
    accounts::credentials::Login,
    audit::Action,
    door::staff::{self, StaffMember},
    realtime::AfterCommit,
    types::usage::Usage,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    http::fields::{Field, Id, Text},
    operations::{Call, Command, Done, seats},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct AddStaff {
    #[serde(rename = "eventId")]
    event_id: Id,
    /// An e-mail address or a phone number that the account has verified.
    #[schema(value_type = String, max_length = 4096, example = "asha@nexus.example")]
    account: Text,
}

/// Somebody may let people in now.
#[derive(Serialize, ToSchema)]
pub(crate) struct AddedStaff {
    staff: StaffMember,
    message: &'static str,
}

impl Command for AddStaff {
    type Response = AddedStaff;

    fn spec() -> Operation {
        let usage = Usage { limit: 100, used: 100, until_room: Duration::from_secs(60) };
        Operation::command("add_staff", "Name somebody who may let people in to an event")
            .description("They check tickets in, look for them by name, and see how many are in; they change nothing else.")
            .failures([
                Error::EventNotFound,
                Error::EventTakenDown,
                Error::Forbidden(staff::MANAGE),
                Error::AccountNotFound,
                Error::RateLimited(usage),
            ])
    }

    async fn run(self, call: Call) -> Result<Done> {
        let event = seats::event(&self.event_id)?;
        let unreadable = "account must be text";
        let account = self.account.required(Error::invalid("account is required"), unreadable)?;
        let login = Login::of(&account).ok_or(Error::AccountNotFound)?;
        // Who names accounts learns which there are.
        call.app.budgets.staff(call.user).await?;
        let mut tx = call.begin().await?;
        let member = staff::add(&mut tx, event, call.user, &login).await?;
        let details = json!({ "user": member.user_id });
        call.record(&mut tx, Action::StaffAdded, event, details).await?;
        let data = AddedStaff { staff: member, message: "Member of staff added successfully" };
        call.commit(tx, data, AfterCommit::default()).await
    }
}
