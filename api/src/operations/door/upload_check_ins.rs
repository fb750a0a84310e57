//! `POST /events/:id/check-ins/upload`

use std::time::{Duration, Instant};

use nexus_common::{
    Error, Result,
    door::{access, check_ins::Scan as Scanned, verdicts::Checked},
    types::{ids::ScanId, time::Timestamp},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    CodeText, Scan, TicketIdText,
    check_in::{record, scan_id, shown},
    optional_gate,
};
use crate::{
    app::App,
    auth::caller::DoorCaller,
    http::{
        api_error::ApiError,
        fields::{Field, Id, List, Time, parts},
    },
    operations::{All, Endpoint, seats},
    spec::operation::Operation,
};

/// More are sent in several requests.
const MOST: usize = 200;
/// No more are begun after that: clients give up on answers that take long.
const ENOUGH: Duration = Duration::from_secs(8);

#[derive(Deserialize, ToSchema)]
pub(crate) struct UploadCheckIns {
    #[serde(rename = "eventId")]
    event_id: Id,
    /// In the order in which they were made.
    #[schema(value_type = Vec<OfflineScan>, max_items = 200)]
    scans: List,
}

/// Somebody whom a scanner has let in while it was offline.
#[derive(Deserialize, ToSchema)]
pub(crate) struct OfflineScan {
    scan_id: Scan,
    /// What was in the QR code.
    text: Option<CodeText>,
    /// Without a text: a ticket that was found by hand.
    ticket_id: Option<TicketIdText>,
    /// When, by the scanner's clock; no later than now.
    at: Time,
    /// Where, unless the door key says it.
    gate_id: Option<Id>,
}

impl TryFrom<OfflineScan> for Scanned {
    type Error = Error;

    fn try_from(request: OfflineScan) -> Result<Self> {
        // Somebody is in, though the scanner's clock may be broken.
        let at = request.at.read().as_deref().and_then(Timestamp::parse);
        Ok(Scanned {
            id: scan_id(&request.scan_id)?,
            shown: shown(&request.text, &request.ticket_id)?,
            gate: optional_gate(&request.gate_id)?,
            offline: Some(at.unwrap_or_else(Timestamp::now)),
        })
    }
}

/// What has become of a scan.
#[derive(Serialize, ToSchema)]
pub(crate) struct UploadedScan {
    scan_id: ScanId,
    /// What a scanner that is online would have been told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    checked: Option<Checked>,
    /// Why it could not be recorded, if it could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<String>,
}

impl Endpoint for UploadCheckIns {
    type Caller = DoorCaller;
    type Response = All<UploadedScan>;

    fn spec() -> Operation {
        Operation::at_the_door("upload_check_ins", "Upload whom a scanner has let in while offline")
            .description("Each scan counts once, however often it is uploaded. Somebody who should not have been let in is recorded as a conflict, and counts for nothing else. The answers are in the order of the scans; if there are fewer, the rest is to be sent again.")
            .failures([
                Error::EventNotFound,
                Error::Forbidden(access::LET_IN),
                Error::DoorClosed,
            ])
    }

    async fn run(
        self,
        app: App,
        DoorCaller(keeper): DoorCaller,
    ) -> Result<Self::Response, ApiError> {
        let event = seats::event(&self.event_id)?;
        let scans = self.scans.read().ok_or_else(|| Error::invalid("scans must be a list"))?;
        if scans.len() > MOST {
            return Err(Error::invalid(format!("At most {MOST} scans can be sent at once")).into());
        }
        let scans = parts::<OfflineScan>(scans)?;
        let ids: Vec<ScanId> =
            scans.iter().map(|scan| scan_id(&scan.scan_id)).collect::<Result<_>>()?;
        let door =
            access::door(&mut *app.db.acquire().await?, event, keeper, app.settings.door_opens)
                .await?;
        door.require_open()?;
        let (began, mut uploaded) = (Instant::now(), Vec::with_capacity(scans.len()));
        for (scan_id, scan) in ids.into_iter().zip(scans) {
            // The scanner sends the rest again.
            if began.elapsed() > ENOUGH {
                break;
            }
            // Each by itself: one that is odd keeps no other from being recorded.
            let checked = match Scanned::try_from(scan) {
                Ok(scan) => record(&app, &door, &scan).await,
                Err(error) => Err(error),
            };
            uploaded.push(match checked {
                Ok(checked) => UploadedScan { scan_id, checked: Some(checked), error: None },
                Err(error) if is_final(&error) => {
                    UploadedScan { scan_id, checked: None, error: Some(error.to_string()) }
                }
                Err(error) => return Err(error.into()),
            });
        }
        Ok(All(uploaded))
    }
}

/// Whether the same scan would fail again: the scanner may forget it.
fn is_final(error: &Error) -> bool {
    matches!(error, Error::Invalid(_) | Error::CheckInUndone | Error::EventTakenDown)
}
