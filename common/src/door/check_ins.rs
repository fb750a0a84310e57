//! Checking in: one ticket lets one person in, however many gates scan it and however often a scan
//! is sent.
//!
//! Who checks a ticket in holds its row, and so does whoever cancels its booking: of two gates, and
//! of a gate and a refund, the second finds what the first has done. A scanner that was offline
//! could not ask; what it has done is recorded, and is a conflict where it should not have.

use nexus_ticket_code::{Claim, PublicKey, Refusal, verify};
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
    tickets::keys::{self, TicketKey},
    types::{
        ids::{DoorKeyId, EventId, GateId, ScanId, SeatTypeId, TicketId, UserId},
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
    /// The scanner was offline and has let somebody in, at that time by its own clock.
    pub offline: Option<Timestamp>,
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

text_enum! {
    /// Why somebody should not have been let in whom a scanner that was offline has let in.
    pub enum Conflict {
        /// Somebody was in with the ticket.
        AlreadyUsed = "already_used",
        /// The ticket was cancelled, its code replaced, or its key revoked.
        Void = "void",
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
    /// A scanner that was offline has let somebody in all the same, which is recorded.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub is_conflict: bool,
    /// With `wrong_gate`: where its holder comes in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub gates: Vec<NamedGate>,
    /// Whether this scan has recorded something, and was not sent before.
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
            is_conflict: false,
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
            return Some(forged.of(ticket));
        }
        Nonce::Of(_) | Nonce::ByHand => {}
    }
    (counting.is_some() || ticket.status == TicketStatus::Used)
        .then(|| already_used(ticket, counting))
}

fn void(ticket: &Ticket, reason: Option<Reason>, message: &str) -> Checked {
    Checked::new(Verdict::Void, reason, message).of(ticket)
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

/// Holds a ticket, and its event first: whoever deletes an event has it before its tickets.
async fn hold(conn: &mut PgConnection, door: &Door, id: TicketId) -> Result<Option<Ticket>> {
    let row = sqlx::query!(
        r#"SELECT t.qr_nonce, t.status AS "status: TicketStatus", b.event_id AS "event: EventId", b.status AS "booking: BookingStatus",
                  s.event_seat_type_id AS "seat_type?: SeatTypeId", t.ticket_id, t.seat_label, coalesce(t.seat_type_name, '') AS "seat_type_name!",
                  b.booking_reference, u.name
           FROM tickets t JOIN bookings b ON b.id = t.booking_id JOIN events e ON e.id = b.event_id JOIN users u ON u.id = b.user_id
           LEFT JOIN seats s ON s.id = t.seat_id
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
    let refused = Checked::new(Verdict::AlreadyUsed, None, message).of(ticket);
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

/// Somebody whom a scanner that was offline should not have let in.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConflictingCheckIn {
    pub conflict: Conflict,
    pub ticket: ScannedTicket,
    /// That of the scanner that was offline.
    pub check_in: CheckIn,
    /// The one that counts, if there is one.
    pub counted: Option<CheckIn>,
}

/// The newest conflicts of an event, those left out that were undone.
pub async fn conflicts(conn: &mut PgConnection, door: &Door) -> Result<Vec<ConflictingCheckIn>> {
    let rows = sqlx::query!(
        r#"SELECT c.conflict AS "conflict!: Conflict", c.scan_id AS "scan: ScanId", c.scanned_at AS "at: Timestamp", c.by_hand,
                  g.id AS "gate?: GateId", g.name AS "gate_name?",
                  f.scan_id AS "first_scan?: ScanId", f.scanned_at AS "first_at?: Timestamp", f.by_hand AS "first_by_hand?",
                  h.id AS "first_gate?: GateId", h.name AS "first_gate_name?",
                  t.ticket_id, t.seat_label, coalesce(t.seat_type_name, '') AS "seat_type_name!", b.booking_reference, u.name
           FROM check_ins c JOIN tickets t ON t.id = c.ticket_id JOIN bookings b ON b.id = t.booking_id JOIN users u ON u.id = b.user_id
           LEFT JOIN gates g ON g.id = c.gate_id
           LEFT JOIN check_ins f ON f.ticket_id = c.ticket_id AND f.undone_at IS NULL AND f.conflict IS NULL
           LEFT JOIN gates h ON h.id = f.gate_id
           WHERE c.event_id = $1 AND c.conflict IS NOT NULL AND c.undone_at IS NULL ORDER BY c.received_at DESC LIMIT 500"#,
        door.event as _,
    )
    .fetch_all(conn)
    .await?;
    let named = |gate: Option<GateId>, name: Option<String>| {
        gate.zip(name).map(|(id, name)| NamedGate { id, name })
    };
    let rows = rows.into_iter().map(|row| {
        let first = row.first_scan.zip(row.first_at).zip(row.first_by_hand);
        ConflictingCheckIn {
            conflict: row.conflict,
            ticket: ScannedTicket {
                ticket_id: row.ticket_id,
                seat_label: row.seat_label,
                seat_type_name: row.seat_type_name,
                booking_reference: row.booking_reference,
                holder_name: row.name.filter(|_| !door.is_down),
            },
            check_in: CheckIn {
                scan_id: row.scan,
                at: row.at,
                gate: named(row.gate, row.gate_name),
                by_hand: row.by_hand,
            },
            counted: first.map(|((scan_id, at), by_hand)| CheckIn {
                scan_id,
                at,
                gate: named(row.first_gate, row.first_gate_name),
                by_hand,
            }),
        }
    });
    Ok(rows.collect())
}
