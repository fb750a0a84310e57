//! The keys with which tickets are checked: the public halves of those that sign tickets now or have
//! signed them. A process that signs puts its key here first; operators add and revoke others.

use nexus_ticket_code::{KeyId, PublicKey};
use serde::Serialize;
use serde_json::json;
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::{
    audit::{self, Action, Subject},
    error::{Error, Result},
    types::{ids::EventId, time::Timestamp},
};

/// A key with which tickets are checked.
#[derive(Clone, Debug)]
pub struct TicketKey {
    pub public: PublicKey,
    pub added_at: Timestamp,
    /// What it has signed is worth nothing.
    pub revoked_at: Option<Timestamp>,
}

/// The same as everybody may have it.
#[derive(Debug, Serialize, ToSchema)]
pub struct PublishedKey {
    /// The first eight hexadecimal digits of the SHA-256 of the key; each text has them.
    #[schema(pattern = "^[0-9a-f]{8}$", examples("b1e64c2a"))]
    pub id: String,
    #[schema(examples("Ed25519"))]
    pub algorithm: &'static str,
    /// 32 bytes in base64.
    #[schema(examples("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="))]
    pub public_key: String,
}

impl From<&PublicKey> for PublishedKey {
    fn from(key: &PublicKey) -> Self {
        PublishedKey { id: key.id().to_string(), algorithm: "Ed25519", public_key: key.to_string() }
    }
}

/// Every key, the newest first.
pub async fn all(conn: &mut PgConnection) -> Result<Vec<TicketKey>> {
    let rows = sqlx::query!(
        r#"SELECT public_key, added_at AS "added_at: Timestamp", revoked_at AS "revoked_at: Timestamp"
           FROM ticket_keys ORDER BY added_at DESC, id"#,
    )
    .fetch_all(conn)
    .await?;
    let keys = rows.into_iter().map(|row| {
        let public = PublicKey::from_bytes(&row.public_key);
        let public = public.ok_or_else(|| Error::internal("a row of ticket_keys has no key"))?;
        Ok(TicketKey { public, added_at: row.added_at, revoked_at: row.revoked_at })
    });
    keys.collect()
}

/// Those whose tickets are good, for everybody.
pub async fn published(conn: &mut PgConnection) -> Result<Vec<PublishedKey>> {
    let keys = all(conn).await?;
    let good = keys.iter().filter(|key| key.revoked_at.is_none());
    Ok(good.map(|key| PublishedKey::from(&key.public)).collect())
}

/// Makes a key known, if it is not yet; false if it is. A key that was revoked stays so:
/// [`Error::TicketKeyRevoked`].
pub async fn add(conn: &mut PgConnection, key: &PublicKey) -> Result<bool> {
    let added = sqlx::query!(
        "INSERT INTO ticket_keys (id, public_key) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING",
        key.id().to_string(),
        key.as_bytes(),
    )
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if added > 0 {
        let details = json!({ "key": key.id().to_string() });
        let subject = Subject::installation();
        audit::record(conn, Action::TicketKeyAdded, None, subject, details).await?;
        return Ok(true);
    }
    let known = sqlx::query!(
        r#"SELECT public_key = $2 AS "same!", revoked_at IS NOT NULL AS "revoked!" FROM ticket_keys WHERE id = $1"#,
        key.id().to_string(),
        key.as_bytes(),
    )
    .fetch_one(conn)
    .await?;
    match (known.same, known.revoked) {
        // One in four billion.
        (false, _) => Err(Error::internal("another key has the same id: make a new one")),
        (true, true) => Err(Error::TicketKeyRevoked),
        (true, false) => Ok(false),
    }
}

/// Revokes a key: what it has signed is refused at every door, from now on. Returns the events that
/// are not over, the soonest first, whose tickets are then to be [given up](give_up); `None` if
/// there is no such key.
pub async fn revoke(conn: &mut PgConnection, key: KeyId) -> Result<Option<Vec<EventId>>> {
    let revoked = sqlx::query!(
        "UPDATE ticket_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1",
        key.to_string(),
    )
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if revoked == 0 {
        return Ok(None);
    }
    let (subject, details) = (Subject::installation(), json!({ "key": key.to_string() }));
    audit::record(conn, Action::TicketKeyRevoked, None, subject, details).await?;
    let events = sqlx::query_scalar!(
        r#"SELECT id AS "id: EventId" FROM events
           WHERE end_date > now() AND EXISTS (SELECT 1 FROM bookings b WHERE b.event_id = events.id AND b.status = 'confirmed')
           ORDER BY start_date, id"#,
    );
    Ok(Some(events.fetch_all(conn).await?))
}

/// Refuses to sign with a key that has been revoked. Whoever revokes it waits for this transaction.
pub(super) async fn require_good(conn: &mut PgConnection, key: &PublicKey) -> Result<()> {
    let good = sqlx::query_scalar!(
        "SELECT id FROM ticket_keys WHERE id = $1 AND revoked_at IS NULL FOR SHARE",
        key.id().to_string(),
    );
    good.fetch_optional(conn).await?.map(drop).ok_or(Error::TicketKeyRevoked)
}

/// Tickets whose codes are given up together: whoever scans one of them waits for so long.
const PORTION: i64 = 1_000;

/// Gives up the codes of some of an event's tickets that a key has signed, so that the job
/// `reissue_tickets` makes new ones and sends them. Returns how many: none when there are no more.
pub async fn give_up(conn: &mut PgConnection, event: EventId, key: KeyId) -> Result<u64> {
    let given_up = sqlx::query!(
        "WITH chosen AS (
             SELECT t.id FROM bookings b CROSS JOIN LATERAL (
                 SELECT id FROM tickets
                 WHERE booking_id = b.id AND qr_key = $2 AND qr_nonce IS NOT NULL AND status NOT IN ('cancelled', 'used') OFFSET 0) t
             WHERE b.event_id = $1 ORDER BY t.id LIMIT $3
         ), held AS (
             SELECT id FROM tickets
             WHERE id IN (SELECT id FROM chosen) AND qr_key = $2 AND qr_nonce IS NOT NULL AND status NOT IN ('cancelled', 'used')
             ORDER BY id FOR NO KEY UPDATE
         )
         UPDATE tickets t SET qr_nonce = NULL, qr_signature = NULL FROM held WHERE t.id = held.id",
        event as _,
        key.to_string(),
        PORTION,
    );
    Ok(given_up.execute(conn).await?.rows_affected())
}
