//! What a scanner needs to work without a network: the keys that check codes, which of them are void,
//! who is in, and at which gate each seat type comes in; later, what has changed since. It is signed,
//! so that it may come by any way.
//!
//! A bundle's version is the oldest transaction that was still running when it was read. All that is
//! older is in it; what is as new or newer comes with the next one, some of it twice.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretBox};
use serde::Serialize;
use sha2::Sha256;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{
    access::Door,
    counts::{self, DoorCounts},
    gates::{self, Gate},
};
use crate::{
    config::Tokens,
    error::{Error, Result},
    tickets::{
        codes::SigningKey,
        keys::{self, PublishedKey},
    },
    types::{
        ids::{EventId, GateId, SeatTypeId, TicketId},
        time::Timestamp,
        time_zone::TimeZone,
    },
};

/// What is in a bundle.
#[derive(Debug, Serialize)]
pub struct Bundle {
    pub event: BundledEvent,
    pub at: Timestamp,
    /// For the next one.
    pub version: String,
    /// The version after which this tells what has changed; null: it tells everything.
    pub since: Option<String>,
    /// Keys whose tickets are good.
    pub keys: Vec<PublishedKey>,
    /// Ids of keys whose tickets are not.
    pub revoked_keys: Vec<String>,
    /// Public keys, in base64, of which one has signed every bundle.
    pub bundle_keys: Vec<String>,
    /// Where the scanner is, if its key says it.
    pub gate_id: Option<GateId>,
    pub gates: Vec<Gate>,
    pub counts: DoorCounts,
    /// Codes that are good no more: ticket and nonce.
    pub void: Vec<(TicketId, String)>,
    /// Tickets with which somebody is in.
    pub inside: Vec<TicketId>,
    /// Tickets whose check-in was undone.
    pub outside: Vec<TicketId>,
    /// The tickets of each seat type, where a gate is not for all of them; only in a whole bundle.
    pub seat_types: Vec<TypeTickets>,
}

/// The event, as whoever scans sees it.
#[derive(Debug, Serialize)]
pub struct BundledEvent {
    pub id: EventId,
    pub name: String,
    pub start_date: Timestamp,
    pub end_date: Timestamp,
    pub time_zone: TimeZone,
}

/// The tickets of a seat type.
#[derive(Debug, Serialize)]
pub struct TypeTickets {
    pub seat_type_id: SeatTypeId,
    pub tickets: Vec<TicketId>,
}

/// A bundle on its way.
#[derive(Debug, Serialize, ToSchema)]
pub struct SignedBundle {
    /// JSON, exactly as it was signed: what is in it is in docs/door.md.
    pub bundle: String,
    /// One is good for a scanner that knows one of the keys.
    pub signatures: Vec<BundleSignature>,
}

/// By one of the keys that sign bundles.
#[derive(Debug, Serialize, ToSchema)]
pub struct BundleSignature {
    /// In base64; a scanner gets it with its door key.
    pub public_key: String,
    /// Ed25519, over the bytes of the bundle, in base64.
    pub signature: String,
}

/// Signs bundles, with keys that follow from those that sign tokens: the newest, and those that it
/// has replaced, so that a scanner that knows an older one goes on.
#[derive(Clone, Debug)]
pub struct BundleKeys(Vec<SigningKey>);

impl BundleKeys {
    pub fn new(tokens: &Tokens) -> Result<Self> {
        let keys = tokens.access.iter().map(|secret| {
            let mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes());
            let mac = mac.map_err(Error::internal)?.chain_update("door bundles");
            let seed: [u8; 32] = mac.finalize().into_bytes().into();
            Ok(SigningKey::new(&SecretBox::new(Box::new(seed))))
        });
        Ok(BundleKeys(keys.collect::<Result<_>>()?))
    }

    /// Their public halves in base64, the newest first.
    pub fn published(&self) -> Vec<String> {
        self.0.iter().map(|key| key.public().to_string()).collect()
    }

    /// Signs a bundle with each.
    pub fn sign(&self, bundle: &Bundle) -> Result<SignedBundle> {
        let bundle = serde_json::to_string(bundle).map_err(Error::internal)?;
        let signature = |key: &SigningKey| BundleSignature {
            public_key: key.public().to_string(),
            signature: key.sign(bundle.as_bytes()),
        };
        let signatures = self.0.iter().map(signature).collect();
        Ok(SignedBundle { bundle, signatures })
    }
}

/// A version: of the transactions of a server since it was started. After a restart, and so after a
/// backup was restored or another server has taken over, numbers may come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    started: i64,
    transaction: i64,
}

impl Version {
    pub fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| {
            let is_one = (1..=18).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
            is_one.then(|| text.parse().ok())?
        };
        let (started, transaction) = text.split_once('-')?;
        Some(Version { started: number(started)?, transaction: number(transaction)? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.started, self.transaction)
    }
}

/// From where a bundle goes on, and the version that it will have.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    since: Option<Version>,
    version: Version,
}

impl Span {
    /// Whether everything is told, which is much.
    pub fn is_whole(self) -> bool {
        self.since.is_none()
    }
}

/// What has to be told to a scanner that has a version: everything, unless it is one of this server;
/// and if a gate has changed, for it may matter now who comes in where.
pub async fn span(conn: &mut PgConnection, event: EventId, since: Option<Version>) -> Result<Span> {
    let row = sqlx::query!(
        r#"SELECT extract(epoch FROM pg_postmaster_start_time())::bigint AS "started!", pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS "transaction!",
                  EXISTS (SELECT 1 FROM gates WHERE event_id = $1 AND changed_by >= coalesce($2::bigint, 0)::text::xid8) AS "gates_changed!""#,
        event as _,
        since.map(|since| since.transaction),
    )
    .fetch_one(conn)
    .await?;
    let version = Version { started: row.started, transaction: row.transaction };
    let since = since.filter(|since| {
        since.started == version.started
            && since.transaction <= version.transaction
            && !row.gates_changed
    });
    Ok(Span { since, version })
}

/// What a scanner needs at this door. The span is older than what is read, so that this has at least
/// all that its version promises.
pub async fn read(
    conn: &mut PgConnection,
    door: &Door,
    span: Span,
    bundle_keys: &BundleKeys,
) -> Result<Bundle> {
    let event = sqlx::query!(
        r#"SELECT name, start_date AS "start_date: Timestamp", end_date AS "end_date: Timestamp", time_zone AS "time_zone: TimeZone" FROM events WHERE id = $1"#,
        door.event as _,
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or(Error::EventNotFound)?;
    let since = span.since.map(|since| since.transaction);
    let void = sqlx::query!(
        r#"SELECT ticket_id AS "ticket: TicketId", nonce FROM void_codes
           WHERE event_id = $1 AND changed_by >= coalesce($2::bigint, 0)::text::xid8 ORDER BY ticket_id, nonce"#,
        door.event as _,
        since,
    )
    .fetch_all(&mut *conn)
    .await?;
    let changed = sqlx::query!(
        r#"SELECT ticket_id AS "ticket: TicketId", bool_or(undone_at IS NULL AND conflict IS NULL) AS "inside!" FROM check_ins
           WHERE event_id = $1 AND changed_by >= coalesce($2::bigint, 0)::text::xid8 GROUP BY ticket_id ORDER BY ticket_id"#,
        door.event as _,
        since,
    )
    .fetch_all(&mut *conn)
    .await?;
    let (inside, others): (Vec<_>, Vec<_>) = changed.into_iter().partition(|row| row.inside);
    let outside: Vec<TicketId> = others.into_iter().map(|row| row.ticket).collect();
    let (outside, still_inside) = split(conn, outside, since.is_some()).await?;
    let mut inside: Vec<TicketId> = inside.into_iter().map(|row| row.ticket).collect();
    inside.extend(still_inside);
    let gates = gates::of(conn, door.event).await?;
    let has_types = gates.iter().any(|gate| gate.seat_type_ids.is_some());
    let seat_types = match has_types && since.is_none() {
        true => seat_types(conn, door.event).await?,
        false => vec![],
    };
    let (counts, _) = counts::of(conn, door.event).await?;
    let all = keys::all(conn).await?;
    let (good, revoked): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|key| key.revoked_at.is_none());
    Ok(Bundle {
        event: BundledEvent {
            id: door.event,
            name: event.name,
            start_date: event.start_date,
            end_date: event.end_date,
            time_zone: event.time_zone,
        },
        at: counts.at,
        version: span.version.to_string(),
        since: span.since.map(|since| since.to_string()),
        keys: good.iter().map(|key| PublishedKey::from(&key.public)).collect(),
        revoked_keys: revoked.iter().map(|key| key.public.id().to_string()).collect(),
        bundle_keys: bundle_keys.published(),
        gate_id: door.keeper.scanner().and_then(|scanner| scanner.gate),
        gates,
        counts,
        void: void.into_iter().map(|row| (row.ticket, row.nonce.to_string())).collect(),
        inside,
        outside,
        seat_types,
    })
}

/// Of tickets of which something has changed, those with which nobody is in, and the others: an
/// older check-in may count. A whole bundle need not say it of the first.
async fn split(
    conn: &mut PgConnection,
    changed: Vec<TicketId>,
    tells: bool,
) -> Result<(Vec<TicketId>, Vec<TicketId>)> {
    if changed.is_empty() || !tells {
        return Ok((vec![], vec![]));
    }
    let inside = sqlx::query_scalar!(
        r#"SELECT ticket_id AS "ticket: TicketId" FROM check_ins WHERE ticket_id = ANY ($1) AND undone_at IS NULL AND conflict IS NULL"#,
        &changed as _,
    )
    .fetch_all(conn)
    .await?;
    Ok(changed.into_iter().partition(|ticket| !inside.contains(ticket)))
}

/// The seats of the event first, whatever the planner thinks of tickets: hence OFFSET.
async fn seat_types(conn: &mut PgConnection, event: EventId) -> Result<Vec<TypeTickets>> {
    let rows = sqlx::query_as!(
        TypeTickets,
        r#"SELECT s.event_seat_type_id AS "seat_type_id: _", array_agg(t.id ORDER BY t.id) AS "tickets!: Vec<TicketId>"
           FROM seats s CROSS JOIN LATERAL (SELECT id FROM tickets WHERE seat_id = s.id AND status <> 'cancelled' OFFSET 0) t
           WHERE s.event_id = $1 AND s.status = 'booked' GROUP BY s.event_seat_type_id ORDER BY 1"#,
        event as _,
    );
    Ok(rows.fetch_all(conn).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_it_is_written() {
        let version = Version { started: 1_796_062_753, transaction: 75_312 };
        assert_eq!(Version::parse(&version.to_string()), Some(version));
        for no_version in ["", "1", "-1", "1-", "1-2-3", "a-b", "1-99999999999999999999"] {
            assert_eq!(Version::parse(no_version), None, "{no_version}");
        }
    }
}
