//! Checking in: one ticket lets one person in, however many gates scan it and however often a scan
//! is sent.
//!
//! Who checks a ticket in holds its row, and so does whoever cancels its booking: of two gates, and
//! of a gate and a refund, the second finds what the first has done.

use serde::Serialize;
use serde_json::json;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    access::Door,
    gates::{self, Gate},
};
use crate::{
    audit::{self, Action},
    error::{Error, Result, violated_constraint},
    tickets::{
        codes::{self, Claim, PublicKey, Refusal},
        keys::{self, TicketKey},
    },
    types::{
        ids::{EventId, GateId, ScanId, SeatTypeId, TicketId},
        statuses::{BookingStatus, TicketStatus},
        text_enum::text_enum,
        time::Timestamp,
    },
};

/// What somebody at the door shows, or is known by.
#[derive(Clone, PartialEq, Eq)]
pub enum Shown {
    /// The text of a QR code.
    Text(String),
    /// `tickets.ticket_id`: found by hand, because it is no secret.
    TicketId(String),
}

/// A request to let somebody in.
#[derive(Clone)]
pub struct Scan {
    pub id: ScanId,
    pub shown: Shown,
    /// Where, if the scanner's key does not say.
    pub gate: Option<GateId>,
}

text_enum! {
    /// What a scan comes to.
    pub enum Verdict {
        /// Come in.
        Ok = "ok",
        /// Somebody has come in with it.
        AlreadyUsed = "already_used",
        /// It is not good any more: cancelled, or replaced by another one.
        Void = "void",
        WrongEvent = "wrong_event",
        /// Its seat is reached by another gate.
        WrongGate = "wrong_gate",
        /// It is no ticket, or none that is known.
        Unknown = "unknown",
        /// It looks like a ticket, and none of our keys has signed it.
        Forged = "forged",
    }
}

text_enum! {
    /// Why, where the verdict alone does not say it.
    pub enum Reason {
        /// Its booking was cancelled or refunded.
        Cancelled = "cancelled",
        /// Its holder has been sent another code for it.
        Reissued = "reissued",
        /// Its text is of a time before codes were signed. Its holder has been sent another one.
        Unsigned = "unsigned",
        /// Somebody has changed its text.
        BadSignature = "bad_signature",
        UnknownKey = "unknown_key",
        /// The key may have been used by others. Its holder has been sent another code.
        RevokedKey = "revoked_key",
    }
}

/// The ticket that was scanned.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ScannedTicket {
    pub ticket_id: String,
    pub seat_label: String,
    pub seat_type_name: String,
    pub booking_reference: String,
    /// The buyer's.
    pub holder_name: Option<String>,
}

/// That somebody has come in.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CheckIn {
    pub scan_id: ScanId,
    pub at: Timestamp,
    pub gate: Option<NamedGate>,
    /// The ticket was found in a list, and not scanned.
    pub by_hand: bool,
}

/// A gate, as people call it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct NamedGate {
    pub id: GateId,
    pub name: String,
}

/// The answer to a scan.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Checked {
    pub result: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reason: Option<Reason>,
    /// In words, for whoever stands at the door.
    pub message: String,
    /// The ticket, if it is one of this event.
    pub ticket: Option<ScannedTicket>,
    /// With `ok` this one, with `already_used` the one before.
    pub check_in: Option<CheckIn>,
    /// With `wrong_gate`: where its holder comes in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub gates: Vec<NamedGate>,
    /// Whether this scan has changed who is in, and was not sent before.
    #[serde(skip)]
    pub is_new: bool,
}

impl Checked {
    fn new(result: Verdict, reason: Option<Reason>, message: impl Into<String>) -> Self {
        Checked {
            result,
            reason,
            message: message.into(),
            ticket: None,
            check_in: None,
            gates: vec![],
            is_new: false,
        }
    }

    fn of(self, ticket: &Ticket) -> Self {
        Checked { ticket: Some(ticket.shown.clone()), ..self }
    }
}

impl From<Gate> for NamedGate {
    fn from(gate: Gate) -> Self {
        NamedGate { id: gate.id, name: gate.name }
    }
}

/// A ticket whose row this transaction holds.
struct Ticket {
    id: TicketId,
    nonce: Option<i64>,
    status: TicketStatus,
    event: EventId,
    booking: BookingStatus,
    seat_type: Option<SeatTypeId>,
    shown: ScannedTicket,
}

/// Lets somebody in, or says why not.
pub async fn check_in(conn: &mut PgConnection, door: &Door, scan: &Scan) -> Result<Checked> {
    let gate = gates::at(conn, door, scan.gate).await?;
    let ticket = match &scan.shown {
        Shown::Text(text) => {
            let claim = match read(text, &keys::all(conn).await?) {
                Ok(claim) => claim,
                Err(NoTicket { result, reason, message }) => {
                    return Ok(Checked::new(result, reason, message));
                }
            };
            if claim.event != door.event {
                return wrong_event(conn, claim.event).await;
            }
            let ticket = hold(conn, claim.ticket).await?.filter(|found| found.event == door.event);
            ticket.map(|ticket| (ticket, Some(claim.nonce)))
        }
        Shown::TicketId(id) => {
            let id = sqlx::query_scalar!(
                r#"SELECT t.id AS "id: TicketId" FROM tickets t JOIN bookings b ON b.id = t.booking_id WHERE t.ticket_id = $1 AND b.event_id = $2"#,
                id,
                door.event as _,
            );
            match id.fetch_optional(&mut *conn).await? {
                Some(id) => hold(conn, id).await?.map(|ticket| (ticket, None)),
                None => None,
            }
        }
    };
    let Some((ticket, nonce)) = ticket else {
        let message = "There is no such ticket of this event";
        return Ok(Checked::new(Verdict::Unknown, None, message));
    };
    // Before anything else: what a scanner sends again is answered as it was.
    if let Some((before, ticket_id, is_undone)) = recorded(conn, door.event, scan.id).await? {
        if ticket_id != ticket.id {
            return Err(Error::invalid("scan_id belongs to the scan of another ticket"));
        }
        if is_undone {
            return Err(Error::CheckInUndone);
        }
        return Ok(admitted(&ticket, before, false));
    }
    if ticket.status == TicketStatus::Cancelled || ticket.booking != BookingStatus::Confirmed {
        let message = "This ticket has been cancelled";
        return Ok(Checked::new(Verdict::Void, Some(Reason::Cancelled), message).of(&ticket));
    }
    if nonce.is_some() && nonce != ticket.nonce {
        let message = "This ticket has been replaced by a newer one";
        return Ok(Checked::new(Verdict::Void, Some(Reason::Reissued), message).of(&ticket));
    }
    if ticket.status == TicketStatus::Used {
        return already_used(conn, &ticket).await;
    }
    if let Some(gate) = &gate
        && !gate.admits(ticket.seat_type)
    {
        return wrong_gate(conn, door.event, &ticket).await;
    }
    let check_in = record(conn, door, scan, &ticket, gate).await?;
    Ok(admitted(&ticket, check_in, true))
}

/// Why a text is not that of a ticket.
struct NoTicket {
    result: Verdict,
    reason: Option<Reason>,
    message: &'static str,
}

/// What a text claims.
fn read(text: &str, known: &[TicketKey]) -> Result<Claim, NoTicket> {
    let good: Vec<PublicKey> =
        known.iter().filter(|key| key.revoked_at.is_none()).map(|key| key.public).collect();
    let forged =
        |reason, message| NoTicket { result: Verdict::Forged, reason: Some(reason), message };
    codes::verify(text.trim(), &good).map_err(|refusal| match refusal {
        // The codes of the Node service, and of the first releases, contained the ticket's id,
        // which is no secret: anybody could draw them.
        Refusal::Unreadable if text.contains("TKT-") => forged(
            Reason::Unsigned,
            "This code is from before tickets were signed. Its holder has been sent a new one.",
        ),
        Refusal::Unreadable => NoTicket {
            result: Verdict::Unknown,
            reason: None,
            message: "This is not the code of a ticket",
        },
        Refusal::UnknownKey(id) if known.iter().any(|key| key.public.id() == id) => forged(
            Reason::RevokedKey,
            "The key of this ticket has been revoked. Its holder has been sent a new one.",
        ),
        Refusal::UnknownKey(_) => forged(Reason::UnknownKey, "This ticket is not one of ours"),
        Refusal::Forged => forged(Reason::BadSignature, "This ticket is forged"),
    })
}

async fn hold(conn: &mut PgConnection, id: TicketId) -> Result<Option<Ticket>> {
    let row = sqlx::query!(
        r#"SELECT t.qr_nonce, t.status AS "status: TicketStatus", b.event_id AS "event: EventId", b.status AS "booking: BookingStatus",
                  s.event_seat_type_id AS "seat_type?: SeatTypeId", t.ticket_id, t.seat_label, coalesce(t.seat_type_name, '') AS "seat_type_name!",
                  b.booking_reference, u.name
           FROM tickets t JOIN bookings b ON b.id = t.booking_id JOIN users u ON u.id = b.user_id LEFT JOIN seats s ON s.id = t.seat_id
           WHERE t.id = $1 FOR NO KEY UPDATE OF t"#,
        id as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Ticket {
        id,
        nonce: row.qr_nonce,
        status: row.status,
        event: row.event,
        booking: row.booking,
        seat_type: row.seat_type,
        shown: ScannedTicket {
            ticket_id: row.ticket_id,
            seat_label: row.seat_label,
            seat_type_name: row.seat_type_name,
            booking_reference: row.booking_reference,
            holder_name: row.name,
        },
    }))
}

/// What a scan has led to, of which ticket, and whether that was undone.
async fn recorded(
    conn: &mut PgConnection,
    event: EventId,
    scan: ScanId,
) -> Result<Option<(CheckIn, TicketId, bool)>> {
    let row = sqlx::query!(
        r#"SELECT ticket_id AS "ticket: TicketId", scanned_at AS "at: Timestamp", by_hand, undone_at IS NOT NULL AS "undone!",
                  g.id AS "gate?: GateId", g.name AS "gate_name?"
           FROM check_ins c LEFT JOIN gates g ON g.id = c.gate_id WHERE c.event_id = $1 AND scan_id = $2"#,
        event as _,
        scan as _,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| {
        let gate = row.gate.zip(row.gate_name).map(|(id, name)| NamedGate { id, name });
        let check_in = CheckIn { scan_id: scan, at: row.at, gate, by_hand: row.by_hand };
        (check_in, row.ticket, row.undone)
    }))
}

async fn already_used(conn: &mut PgConnection, ticket: &Ticket) -> Result<Checked> {
    let scan = sqlx::query_scalar!(
        r#"SELECT scan_id AS "scan: ScanId" FROM check_ins WHERE ticket_id = $1 AND undone_at IS NULL AND NOT is_conflict"#,
        ticket.id as _,
    )
    .fetch_optional(&mut *conn)
    .await?;
    // Somebody else may have set the status.
    let before = match scan {
        Some(scan) => recorded(conn, ticket.event, scan).await?.map(|(check_in, ..)| check_in),
        None => None,
    };
    let message = "Somebody has come in with this ticket already";
    let refused = Checked::new(Verdict::AlreadyUsed, None, message);
    Ok(Checked { check_in: before, ..refused.of(ticket) })
}

async fn wrong_gate(conn: &mut PgConnection, event: EventId, ticket: &Ticket) -> Result<Checked> {
    let right = gates::of(conn, event).await?.into_iter();
    let right: Vec<NamedGate> =
        right.filter(|gate| gate.admits(ticket.seat_type)).map(NamedGate::from).collect();
    let names: Vec<&str> = right.iter().map(|gate| gate.name.as_str()).collect();
    let message = match names.is_empty() {
        true => "This ticket is for another entrance".to_owned(),
        false => format!("This ticket is for another entrance: {}", names.join(", ")),
    };
    let refused = Checked::new(Verdict::WrongGate, None, message);
    Ok(Checked { gates: right, ..refused.of(ticket) })
}

async fn wrong_event(conn: &mut PgConnection, event: EventId) -> Result<Checked> {
    let name = sqlx::query_scalar!("SELECT name FROM events WHERE id = $1", event as _);
    let message = match name.fetch_optional(conn).await? {
        Some(name) => format!("This ticket is for another event: {name}"),
        None => "This ticket is for another event".to_owned(),
    };
    Ok(Checked::new(Verdict::WrongEvent, None, message))
}

fn admitted(ticket: &Ticket, check_in: CheckIn, is_new: bool) -> Checked {
    let welcome = Checked::new(Verdict::Ok, None, "Welcome").of(ticket);
    Checked { check_in: Some(check_in), is_new, ..welcome }
}

async fn record(
    conn: &mut PgConnection,
    door: &Door,
    scan: &Scan,
    ticket: &Ticket,
    gate: Option<Gate>,
) -> Result<CheckIn> {
    let by_hand = matches!(scan.shown, Shown::TicketId(_));
    let at = sqlx::query_scalar!(
        r#"WITH used AS (UPDATE tickets SET status = 'used' WHERE id = $3)
           INSERT INTO check_ins (event_id, scan_id, ticket_id, seat_type_id, gate_id, door_key_id, user_id, by_hand)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING scanned_at AS "at: Timestamp""#,
        door.event as _,
        scan.id as _,
        ticket.id as _,
        ticket.seat_type as _,
        gate.as_ref().map(|gate| gate.id) as _,
        door.keeper.scanner().map(|scanner| scanner.key) as _,
        door.keeper.account() as _,
        by_hand,
    )
    .fetch_one(conn)
    .await
    .map_err(|error| match violated_constraint(&error) {
        // The gate was deleted since we looked.
        Some("check_ins_gate_id_fkey") => Error::GateNotFound,
        // Another ticket was scanned with the same id at the same moment.
        Some("check_ins_pkey") => Error::Collision(error.into()),
        _ => error.into(),
    })?;
    Ok(CheckIn { scan_id: scan.id, at, gate: gate.map(NamedGate::from), by_hand })
}

/// Undoes a check-in: the ticket is as good as before. A scanner undoes only its own. Undoing twice
/// is no failure; whether it was undone now is returned.
pub async fn undo(conn: &mut PgConnection, door: &Door, scan: ScanId) -> Result<bool> {
    let found = sqlx::query!(
        r#"SELECT ticket_id AS "ticket: TicketId", door_key_id FROM check_ins WHERE event_id = $1 AND scan_id = $2"#,
        door.event as _,
        scan as _,
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or(Error::CheckInNotFound)?;
    let scanner = door.keeper.scanner().map(|scanner| scanner.key.0);
    if scanner.is_some() && scanner != found.door_key_id {
        return Err(Error::Forbidden("undo what others have checked in"));
    }
    // As who checks in: the ticket first.
    hold(conn, found.ticket).await?;
    let undone = sqlx::query_scalar!(
        r#"WITH undone AS (
               UPDATE check_ins SET undone_at = clock_timestamp() WHERE event_id = $1 AND scan_id = $2 AND undone_at IS NULL RETURNING ticket_id, is_conflict
           ), unused AS (
               UPDATE tickets t SET status = 'generated' FROM undone WHERE t.id = undone.ticket_id AND t.status = 'used' AND NOT undone.is_conflict
           )
           SELECT count(*) > 0 AS "undone!" FROM undone"#,
        door.event as _,
        scan as _,
    )
    .fetch_one(&mut *conn)
    .await?;
    if undone {
        let mut details = door.keeper.details();
        details["scan"] = json!(scan);
        let actor = door.keeper.account();
        audit::record(conn, Action::CheckInUndone, actor, door.event, details).await?;
    }
    Ok(undone)
}

/// A scan's id, where whoever scans has chosen none.
pub fn new_scan() -> ScanId {
    ScanId(Uuid::now_v7())
}
