//! `DELETE /events/:id/check-ins/:scan`

use nexus_common::{
    Error,
    door::{access, check_ins},
    storage::postgres,
    types::ids::ScanId,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Scan;
use crate::{
    app::App,
    auth::caller::DoorCaller,
    http::{
        api_error::ApiError,
        fields::{Field, Id},
    },
    operations::{Endpoint, One, seats},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct UndoCheckIn {
    #[serde(rename = "eventId")]
    event_id: Id,
    #[serde(rename = "scanId")]
    scan_id: Scan,
}

/// The ticket is as good as before.
#[derive(Serialize, ToSchema)]
pub(crate) struct UndoneCheckIn {
    message: &'static str,
    undone_scan_id: ScanId,
}

impl Endpoint for UndoCheckIn {
    type Caller = DoorCaller;
    type Response = One<UndoneCheckIn>;

    fn spec() -> Operation {
        Operation::at_the_door("undo_check_in", "Undo a check-in")
            .description(
                "The organiser and the staff undo any, a device what it has checked in itself.",
            )
            .failures([
                Error::EventNotFound,
                Error::Forbidden(access::LET_IN),
                Error::CheckInNotFound,
            ])
    }

    async fn run(
        self,
        app: App,
        DoorCaller(keeper): DoorCaller,
    ) -> Result<Self::Response, ApiError> {
        let event = seats::event(&self.event_id)?;
        let scan = self.scan_id.read().ok_or(Error::CheckInNotFound)?;
        let mut tx = postgres::begin(&app.db).await?;
        let door = access::door(&mut tx, event, keeper, app.settings.door_opens).await?;
        let undone = check_ins::undo(&mut tx, &door, scan).await?;
        tx.commit().await?;
        if undone {
            app.door_counts.changed(event);
        }
        Ok(One(UndoneCheckIn { message: "Check-in undone", undone_scan_id: scan }))
    }
}
