//! `GET /events/:id/holders`

use nexus_common::{
    Error, Result,
    tickets::holders::{self, After, TicketHolder},
    types::ids::{BookingId, TicketId},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::caller::Caller,
    http::{
        api_error::ApiError,
        fields::{Field, Id, Text, sent},
    },
    operations::{Endpoint, One, seats},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct ListHolders {
    #[serde(rename = "eventId")]
    event_id: Id,
    /// `next` of the page before.
    #[schema(value_type = Option<String>, max_length = 21, pattern = "^[1-9][0-9]{0,9}-[0-9]{1,10}$", example = "12-345")]
    after: Option<Text>,
}

/// A page of an event's tickets, and who comes in with them.
#[derive(Serialize, ToSchema)]
pub(crate) struct Holders {
    holders: Vec<TicketHolder>,
    /// Where the next page begins; null: this is the last.
    next: Option<String>,
}

impl Endpoint for ListHolders {
    type Caller = Caller;
    type Response = One<Holders>;

    fn spec() -> Operation {
        Operation::private("list_holders", "List who comes to an event")
            .description("For its organiser, 500 tickets at a time.")
            .failures([
                Error::EventNotFound,
                Error::EventTakenDown,
                Error::Forbidden(holders::LIST),
            ])
    }

    async fn run(self, app: App, caller: Caller) -> Result<Self::Response, ApiError> {
        let event = seats::event(&self.event_id)?;
        let after = sent(&self.after).map(after).transpose()?;
        let mut conn = app.db.acquire().await?;
        let (holders, next) = holders::list(&mut conn, event, caller.user, after).await?;
        let next = next.map(|After { booking, ticket }| format!("{booking}-{ticket}"));
        Ok(One(Holders { holders, next }))
    }
}

fn after(text: &Text) -> Result<After> {
    let read = || {
        let text = text.read()?;
        let (booking, ticket) = text.split_once('-')?;
        // Beyond every id there is nothing.
        let id = |text: &str| {
            let is_one = (1..=10).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
            is_one.then(|| text.parse().unwrap_or(i32::MAX))
        };
        let booking = BookingId(id(booking).filter(|id| *id > 0)?);
        Some(After { booking, ticket: TicketId(id(ticket)?) })
    };
    read().ok_or_else(|| Error::invalid("after must be `next` of the page before"))
}
