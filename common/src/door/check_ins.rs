//! Checking in: one ticket lets one person in, however many gates scan it and however often a scan
//! is sent.
//!
//! Who checks a ticket in holds its row, and so does whoever cancels its booking: of two gates, and
//! of a gate and a refund, the second finds what the first has done. A scanner that was offline
//! could not ask; what it has done is recorded, and is a conflict where it should not have.

use nexus_ticket_code::{Claim, PublicKey, Refusal, verify};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    access::Door,
    gates::{self, Gate},
    verdicts::{CheckIn, Checked, Conflict, NamedGate, Reason, ScannedTicket, Verdict},
};
use crate::{
    audit::{self, Action},
    error::{Error, Result, violated_constraint},
    tickets::keys::{self, TicketKey},
    types::{
        ids::{DoorKeyId, EventId, GateId, ScanId, SeatTypeId, TicketId, UserId},
        statuses::{BookingStatus, TicketStatus},
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
    /// The scanner was offline and has let somebody in, at that time by its own clock.
    pub offline: Option<Timestamp>,
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

/// Lets somebody in, or says why not; or records that a scanner that was offline has. A scan that
/// has been recorded is answered as it was.
pub async fn check_in(conn: &mut PgConnection, door: &Door, scan: &Scan) -> Result<Checked> {
    let gate = gates::at(conn, door, scan.gate).await?;
    let is_online = scan.offline.is_none();
    if is_online && gate.is_none() && scan.gate.is_some() {
        return Err(Error::GateNotFound);
    }
    let (id, nonce) = match find(conn, door, scan).await? {
        Found::Ticket(id, nonce) => (id, nonce),
        Found::No(checked) => return Ok(*checked),
    };
    let ticket = hold(conn, door, id).await?.filter(|ticket| ticket.event == door.event);
    let Some(ticket) = ticket else { return Ok(no_such_ticket()) };
    let Entries { this, counting } = entries(conn, door.event, ticket.id, scan.id).await?;
    if let Some(before) = this {
        return again(door, &ticket, before, counting);
    }
    let refused = match judge(&ticket, nonce, counting) {
        Some(refused) if is_online => return Ok(refused),
        Some(refused) => refused,
        None if is_online && gate.as_ref().is_some_and(|gate| !gate.admits(ticket.seat_type)) => {
            return wrong_gate(conn, door.event, &ticket).await;
        }
        // Whom a scanner that was offline has let in is in, by whichever gate.
        None => {
            let check_in = record(conn, door, scan, &ticket, gate, None).await?;
            let check_in = check_in.ok_or_else(|| Error::internal("nothing was recorded"))?;
            return Ok(admitted(&ticket, check_in, true));
        }
    };
    let conflict = match refused.result {
        Verdict::AlreadyUsed => Conflict::AlreadyUsed,
        _ => Conflict::Void,
    };
    let is_new = record(conn, door, scan, &ticket, gate, Some(conflict)).await?.is_some();
    Ok(Checked { is_conflict: true, is_new, ..refused })
}

/// What a scan has found.
enum Found {
    /// A ticket, and what its text says of its code.
    Ticket(TicketId, Nonce),
    No(Box<Checked>),
}

/// What a text says of the code that its ticket has.
#[derive(Clone, Copy)]
enum Nonce {
    Of(i64),
    /// The key that has signed it was revoked.
    Revoked,
    /// There is no text: the ticket was found by hand.
    ByHand,
}

fn no_such_ticket() -> Checked {
    Checked::new(Verdict::Unknown, None, "There is no such ticket of this event")
}

async fn find(conn: &mut PgConnection, door: &Door, scan: &Scan) -> Result<Found> {
    let no = |checked| Ok(Found::No(Box::new(checked)));
    match &scan.shown {
        Shown::Text(text) => match read(text, &keys::all(conn).await?) {
            Err(NoTicket { result, reason, message }) => no(Checked::new(result, reason, message)),
            Ok((claim, _)) if claim.event != door.event.0 => {
                no(wrong_event(conn, EventId(claim.event)).await?)
            }
            Ok((claim, nonce)) => Ok(Found::Ticket(TicketId(claim.ticket), nonce)),
        },
        // Whoever sells tickets for something that an operator has taken down makes up no guests.
        Shown::TicketId(_) if door.is_down => Err(Error::EventTakenDown),
        Shown::TicketId(id) => {
            let id = sqlx::query_scalar!(
                r#"SELECT t.id AS "id: TicketId" FROM tickets t JOIN bookings b ON b.id = t.booking_id WHERE t.ticket_id = $1 AND b.event_id = $2"#,
                id,
                door.event as _,
            );
            match id.fetch_optional(conn).await? {
                Some(id) => Ok(Found::Ticket(id, Nonce::ByHand)),
                None => no(no_such_ticket()),
            }
        }
    }
}

/// The answer to a scan that is recorded.
fn again(
    door: &Door,
    ticket: &Ticket,
    before: Recorded,
    counting: Option<Recorded>,
) -> Result<Checked> {
    // Another scanner that sends the same id would let somebody else in.
    let keeper = (door.keeper.scanner().map(|scanner| scanner.key), door.keeper.account());
    if before.ticket != ticket.id || before.by != keeper {
        return Err(Error::invalid("scan_id belongs to another scan"));
    }
    if before.is_undone {
        return Err(Error::CheckInUndone);
    }
    let checked = match before.conflict {
        None => return Ok(admitted(ticket, before.check_in, false)),
        Some(Conflict::AlreadyUsed) => already_used(ticket, counting),
        Some(Conflict::Void) => void(ticket, None, "This ticket is not valid any more"),
    };
    Ok(Checked { is_conflict: true, ..checked })
}

/// Why a ticket lets nobody in; `None` if it does. The column decides nothing that `counting`, the
/// check-in that counts, does not: others set it, too.
fn judge(ticket: &Ticket, nonce: Nonce, counting: Option<Recorded>) -> Option<Checked> {
    if ticket.status == TicketStatus::Cancelled || ticket.booking != BookingStatus::Confirmed {
        let message = "This ticket has been cancelled";
        return Some(void(ticket, Some(Reason::Cancelled), message));
    }
    match nonce {
        Nonce::Of(nonce) if ticket.nonce != Some(nonce) => {
            let message = "This ticket has been replaced by a newer one";
            return Some(void(ticket, Some(Reason::Reissued), message));
        }
        Nonce::Revoked => {
            let forged = Checked::new(Verdict::Forged, Some(Reason::RevokedKey), REVOKED);
            return Some(forged.of(&ticket.shown));
        }
        Nonce::Of(_) | Nonce::ByHand => {}
    }
    (counting.is_some() || ticket.status == TicketStatus::Used)
        .then(|| already_used(ticket, counting))
}

fn void(ticket: &Ticket, reason: Option<Reason>, message: &str) -> Checked {
    Checked::new(Verdict::Void, reason, message).of(&ticket.shown)
}

/// Why a text is not that of a ticket.
struct NoTicket {
    result: Verdict,
    reason: Option<Reason>,
    message: &'static str,
}

const REVOKED: &str =
    "The key of this ticket has been revoked. Its holder has been sent a new one.";

/// What a text claims.
fn read(text: &str, known: &[TicketKey]) -> Result<(Claim, Nonce), NoTicket> {
    let forged =
        |reason, message| NoTicket { result: Verdict::Forged, reason: Some(reason), message };
    let keys: Vec<PublicKey> = known.iter().map(|key| key.public).collect();
    let (claim, id) = verify(text.trim(), &keys).map_err(|refusal| match refusal {
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
        Refusal::UnknownKey(_) => forged(Reason::UnknownKey, "This ticket is not one of ours"),
        Refusal::Forged => forged(Reason::BadSignature, "This ticket is forged"),
    })?;
    let is_revoked = known.iter().any(|key| key.public.id() == id && key.revoked_at.is_some());
    Ok((claim, if is_revoked { Nonce::Revoked } else { Nonce::Of(claim.nonce) }))
}

/// Holds a ticket, and its event first: whoever deletes an event has it before its tickets. Its owner
/// is looked up and not joined: that of a ticket that is given away meanwhile would not be found.
async fn hold(conn: &mut PgConnection, door: &Door, id: TicketId) -> Result<Option<Ticket>> {
    let row = sqlx::query!(
        r#"SELECT t.qr_nonce, t.status AS "status: TicketStatus", b.event_id AS "event: EventId", b.status AS "booking: BookingStatus",
                  s.event_seat_type_id AS "seat_type?: SeatTypeId", t.ticket_id, t.seat_label, coalesce(t.seat_type_name, '') AS "seat_type_name!",
                  b.booking_reference, coalesce(bs.holder_name, (SELECT name FROM users WHERE id = coalesce(t.owner_id, b.user_id))) AS name
           FROM tickets t JOIN bookings b ON b.id = t.booking_id JOIN events e ON e.id = b.event_id
           LEFT JOIN seats s ON s.id = t.seat_id LEFT JOIN booking_seats bs ON bs.booking_id = b.id AND bs.seat_id = t.seat_id
           WHERE t.id = $1 FOR KEY SHARE OF e FOR NO KEY UPDATE OF t"#,
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
            holder_name: row.name.filter(|_| !door.is_down),
        },
    }))
}

/// What a scan has led to.
struct Recorded {
    check_in: CheckIn,
    ticket: TicketId,
    conflict: Option<Conflict>,
    is_undone: bool,
    /// Who has scanned.
    by: (Option<DoorKeyId>, Option<UserId>),
}

/// What there is of a scan and its ticket.
struct Entries {
    /// This scan, whatever its ticket.
    this: Option<Recorded>,
    /// The ticket's check-in that counts.
    counting: Option<Recorded>,
}

/// Read once the ticket is held: by then nobody else records anything for it.
async fn entries(
    conn: &mut PgConnection,
    event: EventId,
    ticket: TicketId,
    scan: ScanId,
) -> Result<Entries> {
    let rows = sqlx::query!(
        r#"SELECT scan_id AS "scan!: ScanId", ticket_id AS "ticket!: TicketId", scanned_at AS "at!: Timestamp", by_hand AS "by_hand!", undone_at IS NOT NULL AS "undone!",
                  conflict AS "conflict: Conflict", door_key_id AS "door_key: DoorKeyId", user_id AS "user: UserId", g.id AS "gate?: GateId", g.name AS "gate_name?"
           FROM (SELECT * FROM check_ins WHERE event_id = $1 AND scan_id = $2
                 UNION SELECT * FROM check_ins WHERE ticket_id = $3 AND undone_at IS NULL AND conflict IS NULL) c
           LEFT JOIN gates g ON g.id = c.gate_id"#,
        event as _,
        scan as _,
        ticket as _,
    )
    .fetch_all(conn)
    .await?;
    let mut entries = Entries { this: None, counting: None };
    for row in rows {
        let gate = row.gate.zip(row.gate_name).map(|(id, name)| NamedGate { id, name });
        let recorded = Recorded {
            check_in: CheckIn { scan_id: row.scan, at: row.at, gate, by_hand: row.by_hand },
            ticket: row.ticket,
            conflict: row.conflict,
            is_undone: row.undone,
            by: (row.door_key, row.user),
        };
        match row.scan == scan {
            true => entries.this = Some(recorded),
            false => entries.counting = Some(recorded),
        }
    }
    Ok(entries)
}

/// Somebody is in with the ticket: `counting` says who, unless others have set its status.
fn already_used(ticket: &Ticket, counting: Option<Recorded>) -> Checked {
    let message = "Somebody has come in with this ticket already";
    let refused = Checked::new(Verdict::AlreadyUsed, None, message).of(&ticket.shown);
    Checked { check_in: counting.map(|counting| counting.check_in), ..refused }
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
    Ok(Checked { gates: right, ..refused.of(&ticket.shown) })
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
    let welcome = Checked::new(Verdict::Ok, None, "Welcome").of(&ticket.shown);
    Checked { check_in: Some(check_in), is_new, ..welcome }
}

/// Of one ticket no more conflicts are kept: each is as good as the others.
const MOST_CONFLICTS: i64 = 20;

/// Records a check-in; `None` for one more conflict than is kept.
async fn record(
    conn: &mut PgConnection,
    door: &Door,
    scan: &Scan,
    ticket: &Ticket,
    gate: Option<Gate>,
    conflict: Option<Conflict>,
) -> Result<Option<CheckIn>> {
    let by_hand = matches!(scan.shown, Shown::TicketId(_));
    let at = sqlx::query_scalar!(
        r#"WITH used AS (UPDATE tickets SET status = 'used' WHERE id = $3 AND $9::text IS NULL)
           INSERT INTO check_ins (event_id, scan_id, ticket_id, seat_type_id, gate_id, door_key_id, user_id, by_hand, conflict, scanned_at)
           SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, least($10, clock_timestamp())
           WHERE $9::text IS NULL OR (SELECT count(*) FROM check_ins WHERE ticket_id = $3 AND conflict IS NOT NULL) < $11
           RETURNING scanned_at AS "at: Timestamp""#,
        door.event as _,
        scan.id as _,
        ticket.id as _,
        ticket.seat_type as _,
        gate.as_ref().map(|gate| gate.id) as _,
        door.keeper.scanner().map(|scanner| scanner.key) as _,
        door.keeper.account() as _,
        by_hand,
        conflict as _,
        scan.offline as _,
        MOST_CONFLICTS,
    )
    .fetch_optional(conn)
    .await
    .map_err(|error| match violated_constraint(&error) {
        // The gate was deleted since we looked, or another ticket scanned with the same id: asked
        // again, the answer says so.
        Some("check_ins_gate_id_fkey" | "check_ins_pkey") => Error::Collision(error.into()),
        _ => error.into(),
    })?;
    let gate = gate.map(NamedGate::from);
    Ok(at.map(|at| CheckIn { scan_id: scan.id, at, gate, by_hand }))
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
    hold(conn, door, found.ticket).await?;
    let undone = sqlx::query_scalar!(
        r#"UPDATE check_ins SET undone_at = clock_timestamp(), changed_by = pg_current_xact_id()
           WHERE event_id = $1 AND scan_id = $2 AND undone_at IS NULL RETURNING conflict AS "conflict: Conflict""#,
        door.event as _,
        scan as _,
    )
    .fetch_optional(&mut *conn)
    .await?;
    if undone == Some(None) {
        next_of(conn, found.ticket).await?;
    }
    let undone = undone.is_some();
    if undone {
        let mut details = door.keeper.details();
        details["scan"] = json!(scan);
        let actor = door.keeper.account();
        audit::record(conn, Action::CheckInUndone, actor, door.event, details).await?;
    }
    Ok(undone)
}

/// Once the check-in that counted is undone: whoever came in with the ticket elsewhere, at a gate that
/// was offline, is in all the same. Otherwise it is as good as before; if its key was revoked
/// meanwhile, it gets another code.
async fn next_of(conn: &mut PgConnection, ticket: TicketId) -> Result<()> {
    let next = sqlx::query!(
        "UPDATE check_ins SET conflict = NULL, changed_by = pg_current_xact_id()
         WHERE (event_id, scan_id) IN (SELECT event_id, scan_id FROM check_ins
                                       WHERE ticket_id = $1 AND conflict = 'already_used' AND undone_at IS NULL ORDER BY received_at LIMIT 1)",
        ticket as _,
    );
    if next.execute(&mut *conn).await?.rows_affected() > 0 {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE tickets t SET status = 'generated',
                qr_nonce = CASE WHEN EXISTS (SELECT 1 FROM ticket_keys k WHERE k.id = t.qr_key AND k.revoked_at IS NOT NULL) THEN NULL ELSE qr_nonce END
         WHERE id = $1 AND status = 'used'",
        ticket as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A scan's id, where whoever scans has chosen none.
pub fn new_scan() -> ScanId {
    ScanId(Uuid::now_v7())
}
