//! `POST /events/:id/check-ins`

use nexus_common::{
    Error, Result,
    door::{
        access::{self, Door},
        check_ins::{self, Scan as Scanned, Shown},
        verdicts::Checked,
    },
    observability::metrics,
    storage::postgres,
    types::ids::ScanId,
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{CodeText, Scan, TicketIdText, optional_gate};
use crate::{
    app::App,
    auth::caller::DoorCaller,
    http::{
        api_error::ApiError,
        fields::{Field, Id, sent},
        texts::some,
    },
    operations::{Endpoint, One, seats},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct CheckInTicket {
    #[serde(rename = "eventId")]
    event_id: Id,
    /// What is in the QR code.
    text: Option<CodeText>,
    /// Without a text: a ticket that was found by hand (`search_tickets`). It is no secret, so
    /// somebody has to be sure who is at the door.
    ticket_id: Option<TicketIdText>,
    /// Without it, a scan that is sent again finds a ticket that is used already.
    scan_id: Option<Scan>,
    /// Where, unless the door key says it.
    gate_id: Option<Id>,
}

/// What somebody shows at the door.
pub(super) fn shown(text: &Option<CodeText>, ticket_id: &Option<TicketIdText>) -> Result<Shown> {
    let text = sent(text).map(some).transpose()?;
    let ticket = sent(ticket_id).map(some).transpose()?;
    match (text, ticket) {
        (Some(text), _) => Ok(Shown::Text(text)),
        (None, Some(id)) => Ok(Shown::TicketId(id)),
        (None, None) => Err(Error::invalid("Either text or ticket_id is required")),
    }
}

/// A scan's id.
pub(super) fn scan_id(field: &Scan) -> Result<ScanId> {
    field.read().ok_or_else(|| Error::invalid("scan_id must be a UUID"))
}

impl TryFrom<CheckInTicket> for Scanned {
    type Error = Error;

    fn try_from(request: CheckInTicket) -> Result<Self> {
        let shown = shown(&request.text, &request.ticket_id)?;
        let id = sent(&request.scan_id).map(scan_id).transpose()?;
        let id = id.unwrap_or_else(check_ins::new_scan);
        Ok(Scanned { id, shown, gate: optional_gate(&request.gate_id)?, offline: None })
    }
}

impl Endpoint for CheckInTicket {
    type Caller = DoorCaller;
    type Response = One<Checked>;

    fn spec() -> Operation {
        Operation::at_the_door("check_in", "Let somebody in with a ticket")
            .description("A success says what the scan has come to; only `ok` lets somebody in. Of two gates that scan one ticket at the same moment, one gets `ok`. The same scan, sent again with its `scan_id`, gets the same answer.")
            .needs_one_of(&["text", "ticket_id"])
            .failures([
                Error::EventNotFound,
                Error::EventTakenDown,
                Error::Forbidden(access::LET_IN),
                Error::DoorClosed,
                Error::GateNotFound,
                Error::CheckInUndone,
            ])
    }

    async fn run(
        self,
        app: App,
        DoorCaller(keeper): DoorCaller,
    ) -> Result<Self::Response, ApiError> {
        let event = seats::event(&self.event_id)?;
        let scan = Scanned::try_from(self)?;
        let door =
            access::door(&mut *app.db.acquire().await?, event, keeper, app.settings.door_opens)
                .await?;
        door.require_open()?;
        Ok(One(record(&app, &door, &scan).await?))
    }
}

/// Carries a scan out, and tells the organiser if somebody has come in.
pub(super) async fn record(app: &App, door: &Door, scan: &Scanned) -> Result<Checked> {
    let mut tx = postgres::begin(&app.db).await?;
    let checked = check_ins::check_in(&mut tx, door, scan).await?;
    tx.commit().await?;
    metrics::check_in(checked.result.name());
    if checked.is_new {
        app.door_counts.changed(door.event);
    }
    Ok(checked)
}
