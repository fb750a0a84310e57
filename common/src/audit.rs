//! The audit log: who did what to accounts, events, jobs and money, and from where. A row is written
//! in the transaction of what it records, so that neither is there without the other; the schema
//! keeps rows from being changed.
//!
//! Where a request comes from goes with its task, as its trace does ([`coming_from`]), so that what
//! lies between the edge and the statement need not know of it.

use std::fmt::Display;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, SecondsFormat, Utc};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::Sha256;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    error::{Error, Result},
    types::{
        csv::text,
        ids::{EventId, NetworkHash, SeatTypeId, UserId},
        text_enum::text_enum,
    },
};

text_enum! {
    /// What is recorded.
    pub enum Action {
        Registered = "registered",
        SignedIn = "signed_in",
        SignInFailed = "sign_in_failed",
        SignedOut = "signed_out",
        SessionsEnded = "sessions_ended",
        EmailProved = "email_proved",
        EmailSet = "email_set",
        PhoneProved = "phone_proved",
        PasswordChanged = "password_changed",
        PasswordReset = "password_reset",
        RoleChanged = "role_changed",
        AccountSuspended = "account_suspended",
        AccountReinstated = "account_reinstated",
        AccountExported = "account_exported",
        AccountErased = "account_erased",
        OperatorSignedIn = "operator_signed_in",
        OperatorSignInFailed = "operator_sign_in_failed",
        OperatorSignedOut = "operator_signed_out",
        OperatorTotpSet = "operator_totp_set",
        JobRetried = "job_retried",
        JobDiscarded = "job_discarded",
        JobsRetried = "jobs_retried",
        JobsDiscarded = "jobs_discarded",
        AlertClosed = "alert_closed",
        RefundsHeld = "refunds_held",
        RefundsReleased = "refunds_released",
        TicketsResent = "tickets_resent",
        LedgerExported = "ledger_exported",
        AuditExported = "audit_exported",
        EventCreated = "event_created",
        EventUpdated = "event_updated",
        EventCancelled = "event_cancelled",
        EventDeleted = "event_deleted",
        EventTakenDown = "event_taken_down",
        EventRestored = "event_restored",
        SeatTypeCreated = "seat_type_created",
        SeatTypeUpdated = "seat_type_updated",
        SeatTypeDeleted = "seat_type_deleted",
        Viewed = "viewed",
        StaffAdded = "staff_added",
        StaffRemoved = "staff_removed",
        GateCreated = "gate_created",
        GateUpdated = "gate_updated",
        GateDeleted = "gate_deleted",
        DoorKeyCreated = "door_key_created",
        DoorKeyRevoked = "door_key_revoked",
        CheckInUndone = "check_in_undone",
        TicketKeyAdded = "ticket_key_added",
        TicketKeyRevoked = "ticket_key_revoked",
        TicketOffered = "ticket_offered",
        TransferAccepted = "transfer_accepted",
        TicketTransferred = "ticket_transferred",
        TransferEnded = "transfer_ended",
        HoldersListed = "holders_listed",
        WaitingRoomAnnounced = "waiting_room_announced",
        WaitingRoomChanged = "waiting_room_changed",
    }
}

text_enum! {
    /// What something is done to.
    pub enum SubjectKind {
        Account = "account",
        Event = "event",
        SeatType = "seat_type",
        Job = "job",
        JobKind = "job_kind",
        Alert = "alert",
        Booking = "booking",
        Installation = "installation",
    }
}

/// What something is done to, and which one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub kind: SubjectKind,
    pub id: String,
}

impl Subject {
    /// The `id` of that kind.
    pub fn of(kind: SubjectKind, id: impl Display) -> Self {
        Subject { kind, id: id.to_string() }
    }

    /// This installation as a whole.
    pub fn installation() -> Self {
        Subject::of(SubjectKind::Installation, "")
    }

    /// Reads `event 12`; a number alone is an account's.
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim().split_once(' ') {
            Some((kind, id)) => Some(Subject::of(kind.parse().ok()?, id.trim())),
            None => Some(UserId(text.trim().parse().ok()?).into()),
        }
    }

    /// The account that it is.
    pub fn account(&self) -> Option<i32> {
        (self.kind == SubjectKind::Account).then(|| self.id.parse().ok())?
    }
}

impl From<UserId> for Subject {
    fn from(user: UserId) -> Self {
        Subject::of(SubjectKind::Account, user)
    }
}

impl From<EventId> for Subject {
    fn from(event: EventId) -> Self {
        Subject::of(SubjectKind::Event, event)
    }
}

impl From<SeatTypeId> for Subject {
    fn from(seat_type: SeatTypeId) -> Self {
        Subject::of(SubjectKind::SeatType, seat_type)
    }
}

/// Where a request comes from.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// As [`AddressKey`] has it.
    pub address: Option<String>,
    pub request_id: Option<String>,
}

tokio::task_local! {
    static ORIGIN: Origin;
}

/// Does something for a request that comes from there.
pub async fn coming_from<F: Future>(origin: Origin, done: F) -> F::Output {
    ORIGIN.scope(origin, done).await
}

/// The same in a task of its own, for the request that this task serves.
pub fn on_behalf<F: Future>(done: F) -> impl Future<Output = F::Output> {
    ORIGIN.scope(ORIGIN.try_with(Clone::clone).unwrap_or_default(), done)
}

/// Hashes addresses, so that they can be compared, and looked for by who has the key, without being
/// kept.
pub struct AddressKey(Hmac<Sha256>);

impl AddressKey {
    /// A key that follows from a secret of ours. With another secret, addresses hash to something
    /// else than before.
    pub fn new(secret: &SecretString) -> Result<Self> {
        let mac = Hmac::new_from_slice(secret.expose_secret().as_bytes());
        Ok(AddressKey(mac.map_err(Error::internal)?.chain_update("address ")))
    }

    /// Sixteen characters.
    pub fn hash(&self, address: impl Display) -> String {
        let digest = self.0.clone().chain_update(address.to_string()).finalize().into_bytes();
        BASE64_URL_SAFE_NO_PAD.encode(&digest[..12])
    }

    /// The same for a network, as a number.
    pub fn network(&self, network: impl Display) -> NetworkHash {
        let digest = self.0.clone().chain_update(network.to_string()).finalize().into_bytes();
        NetworkHash(i64::from_be_bytes(std::array::from_fn(|byte| digest[byte])))
    }
}

/// An operator who acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// On the operators' pages.
    User(UserId),
    /// On the command line: PostgreSQL knows their name.
    CommandLine,
}

impl Operator {
    /// The user, on the pages.
    pub fn user(self) -> Option<UserId> {
        match self {
            Operator::User(user) => Some(user),
            Operator::CommandLine => None,
        }
    }
}

/// Records that `actor` did something; `None` is somebody who has not proved to be a user, or an
/// operator on the command line. The details are of fixed size, and personal data has no place in
/// them.
pub async fn record(
    conn: &mut PgConnection,
    action: Action,
    actor: Option<UserId>,
    subject: impl Into<Subject>,
    details: Value,
) -> Result<()> {
    let subject = subject.into();
    let Origin { address, request_id } = ORIGIN.try_with(Clone::clone).unwrap_or_default();
    sqlx::query!(
        "INSERT INTO audit_log (action, actor, subject_kind, subject, address, request_id, details) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        action as _,
        actor as _,
        subject.kind as _,
        subject.id,
        address,
        request_id,
        details,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Records that an operator is shown personal data.
pub async fn viewed(
    conn: &mut PgConnection,
    operator: UserId,
    subject: impl Into<Subject>,
) -> Result<()> {
    looked(conn, Action::Viewed, operator, subject).await
}

/// Records that somebody looks at something: once in an hour for each of its subjects, or twice if
/// they look twice at the same moment.
pub async fn looked(
    conn: &mut PgConnection,
    action: Action,
    actor: UserId,
    subject: impl Into<Subject>,
) -> Result<()> {
    let subject = subject.into();
    let known = sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT 1 FROM audit_log
               WHERE subject_kind = $1 AND subject = $2 AND action = $3 AND actor = $4 AND at > now() - interval '1 hour') AS "known!""#,
        subject.kind as _,
        subject.id,
        action as _,
        actor as _,
    );
    match known.fetch_one(&mut *conn).await? {
        true => Ok(()),
        false => record(conn, action, Some(actor), subject, json!({})).await,
    }
}

/// A row of the log.
#[derive(Debug, Serialize)]
pub struct Entry {
    pub id: i64,
    pub at: DateTime<Utc>,
    pub action: String,
    pub actor: Option<UserId>,
    pub written_by: String,
    pub subject_kind: String,
    pub subject: String,
    pub address: Option<String>,
    pub request_id: Option<String>,
    pub details: Value,
}

/// Which rows to list; `None` means any.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// What was done to it and, if it is an account, by it.
    pub about: Option<Subject>,
    pub action: Option<Action>,
    /// Older than that one.
    pub before: Option<i64>,
}

/// The newest rows that match.
pub async fn list(conn: &mut PgConnection, filter: &Filter, limit: i64) -> Result<Vec<Entry>> {
    let before = filter.before.unwrap_or(i64::MAX);
    let rows = match (&filter.about, filter.action) {
        (Some(about), action) => {
            sqlx::query_as!(
                Entry,
                r#"SELECT id AS "id!", at AS "at!", action AS "action!", actor AS "actor: _", written_by AS "written_by!",
                          subject_kind AS "subject_kind!", subject AS "subject!", address, request_id, details AS "details!"
                   FROM ((SELECT * FROM audit_log WHERE subject_kind = $1 AND subject = $2 AND id < $4
                              AND ($5::text IS NULL OR action = $5) ORDER BY id DESC LIMIT $6)
                         UNION
                         (SELECT * FROM audit_log WHERE actor = $3 AND id < $4
                              AND ($5::text IS NULL OR action = $5) ORDER BY id DESC LIMIT $6)) found
                   ORDER BY id DESC LIMIT $6"#,
                about.kind as _,
                about.id,
                about.account(),
                before,
                action as _,
                limit,
            )
            .fetch_all(conn)
            .await
        }
        (None, Some(action)) => {
            sqlx::query_as!(
                Entry,
                r#"SELECT id, at, action, actor AS "actor: _", written_by, subject_kind, subject, address, request_id, details
                   FROM audit_log WHERE action = $1 AND id < $2 ORDER BY id DESC LIMIT $3"#,
                action as _,
                before,
                limit,
            )
            .fetch_all(conn)
            .await
        }
        (None, None) => {
            sqlx::query_as!(
                Entry,
                r#"SELECT id, at, action, actor AS "actor: _", written_by, subject_kind, subject, address, request_id, details
                   FROM audit_log WHERE id < $1 ORDER BY id DESC LIMIT $2"#,
                before,
                limit,
            )
            .fetch_all(conn)
            .await
        }
    };
    Ok(rows?)
}

/// The first line of an export.
pub const HEADER: &str =
    "id,at,action,actor,written_by,subject_kind,subject,address,request_id,details\r\n";

/// Rows that one query fetches.
const PAGE: i64 = 1_000;

/// Where the next page of an export begins: after the row of this time and id.
pub type Place = (DateTime<Utc>, i64);

/// The rows after that, the oldest first, as lines of CSV, and where the next page begins; `None`
/// when there are no more.
pub async fn page(conn: &mut PgConnection, after: Place) -> Result<Option<(String, Place)>> {
    let rows = sqlx::query_as!(
        Entry,
        r#"SELECT id, at, action, actor AS "actor: _", written_by, subject_kind, subject, address, request_id, details
           FROM audit_log WHERE (at, id) > ($1, $2) ORDER BY at, id LIMIT $3"#,
        after.0,
        after.1,
        PAGE,
    )
    .fetch_all(conn)
    .await?;
    let Some(last) = rows.last().map(|row| (row.at, row.id)) else { return Ok(None) };
    Ok(Some((rows.iter().map(line).collect(), last)))
}

fn line(row: &Entry) -> String {
    let fields = [
        row.id.to_string(),
        row.at.to_rfc3339_opts(SecondsFormat::Millis, true),
        row.action.clone(),
        row.actor.map(|actor| actor.to_string()).unwrap_or_default(),
        text(&row.written_by),
        row.subject_kind.clone(),
        text(&row.subject),
        // A hash may begin as a formula does.
        text(row.address.as_deref().unwrap_or_default()),
        text(row.request_id.as_deref().unwrap_or_default()),
        text(&row.details.to_string()),
    ];
    fields.join(",") + "\r\n"
}

/// An operator's reason, no longer than a row may be.
pub fn reason(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// A job, as the subject of something.
pub fn job(id: Uuid) -> Subject {
    Subject::of(SubjectKind::Job, id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_something_was_done_to_is_named_by_kind_and_id() {
        assert_eq!(Subject::parse(" 7 "), Some(UserId(7).into()));
        assert_eq!(Subject::parse("event 12"), Some(EventId(12).into()));
        assert_eq!(Subject::parse("seat_type 3"), Some(SeatTypeId(3).into()));
        assert_eq!(Subject::parse("elephant 3"), None);
        assert_eq!(Subject::parse("asha"), None);
    }

    #[test]
    fn an_address_is_hashed_with_a_key() {
        let hash = |key: &str| AddressKey::new(&key.into()).unwrap().hash("192.0.2.7");
        assert_eq!(hash("one"), hash("one"));
        assert_ne!(hash("one"), hash("other"));
        assert_eq!(hash("one").len(), 16);
    }
}
