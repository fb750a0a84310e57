//! Door keys: tokens for devices that let people in to one event, and do nothing else. Only their
//! hashes are kept; 32 random bytes need no slow one.

use std::fmt;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;

use super::{
    access::{Scanner, take_turns},
    bundles::BundleKeys,
};
use crate::{
    error::{Error, Result, violated_constraint},
    events::event::require_organizer,
    storage::{groups::Groups, postgres::promptly_from},
    types::{
        ids::{DoorKeyId, EventId, GateId, UserId},
        time::Timestamp,
    },
};

/// What every token begins with, so that people, and programs that look for leaked secrets, know
/// one when they see it.
const PREFIX: &str = "nxd_";

/// A door key as its device sends it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Token(String);

impl Token {
    /// What may be one.
    pub fn parse(text: &str) -> Option<Self> {
        let encoded = text.strip_prefix(PREFIX)?;
        let is_one = encoded.len() == 43
            && BASE64_URL_SAFE_NO_PAD.decode(encoded).is_ok_and(|bytes| bytes.len() == 32);
        is_one.then(|| Token(text.to_owned()))
    }

    fn generate() -> Self {
        Token(format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())))
    }

    fn hash(&self) -> Vec<u8> {
        Sha256::digest(&self.0).to_vec()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A door key as its event's organiser sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct DoorKey {
    pub id: DoorKeyId,
    pub event_id: EventId,
    /// What the organiser calls the device.
    pub name: String,
    /// Where the device is; null: it says itself.
    pub gate_id: Option<GateId>,
    pub created_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
}

/// A key that has just been made.
#[derive(Debug, Serialize, ToSchema)]
pub struct NewDoorKey {
    #[serde(flatten)]
    pub key: DoorKey,
    /// For `Authorization: Bearer`. It is shown only now.
    #[schema(pattern = "^nxd_[A-Za-z0-9_-]{43}$", value_type = String)]
    pub token: Shown,
    /// Opens the scanner page with it, behind the API's address: for a QR code that the device reads.
    #[schema(pattern = "^/scan#[0-9]{1,10}\\.nxd_[A-Za-z0-9_-]{43}$", value_type = String)]
    pub scan_path: Shown,
    /// The keys that sign what the scanner gets for working offline (`get_door`), in base64.
    pub bundle_keys: Vec<String>,
}

/// A token, on its way to the organiser.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Shown(String);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown(…)")
    }
}

/// No event has more that are not revoked, nor four times as many in all.
pub const MOST: i64 = 500;

pub const MANAGE: &str = "manage the door keys of this event";

/// The door keys of an event, good ones before those that were revoked, the newest first, for its
/// organiser.
pub async fn list(
    conn: &mut PgConnection,
    event: EventId,
    organiser: UserId,
) -> Result<Vec<DoorKey>> {
    require_organizer(conn, event, organiser, MANAGE).await?;
    let keys = sqlx::query_as!(
        DoorKey,
        r#"SELECT id AS "id: _", event_id AS "event_id: _", name, gate_id AS "gate_id: _", created_at AS "created_at: _", revoked_at AS "revoked_at: _"
           FROM door_keys WHERE event_id = $1 ORDER BY revoked_at IS NOT NULL, id DESC"#,
        event as _,
    );
    Ok(keys.fetch_all(conn).await?)
}

/// Makes a door key, for the event's organiser.
pub async fn create(
    conn: &mut PgConnection,
    event: EventId,
    organiser: UserId,
    name: &str,
    gate: Option<GateId>,
    bundle_keys: &BundleKeys,
) -> Result<NewDoorKey> {
    require_organizer(conn, event, organiser, MANAGE).await?.audience()?;
    take_turns(conn, event).await?;
    if let Some(gate) = gate {
        sqlx::query_scalar!(
            "SELECT id FROM gates WHERE id = $1 AND event_id = $2",
            gate as _,
            event as _
        )
        .fetch_optional(&mut *conn)
        .await?
        .ok_or(Error::GateNotFound)?;
    }
    let token = Token::generate();
    let created = sqlx::query_as!(
        DoorKey,
        r#"INSERT INTO door_keys (event_id, gate_id, name, hash)
           SELECT $1, $2, $3, $4 FROM (SELECT count(*) AS made, count(*) FILTER (WHERE revoked_at IS NULL) AS good FROM door_keys WHERE event_id = $1) k
           WHERE good < $5 AND made < 4 * $5
           RETURNING id AS "id: _", event_id AS "event_id: _", name, gate_id AS "gate_id: _", created_at AS "created_at: _", revoked_at AS "revoked_at: _""#,
        event as _,
        gate as _,
        name,
        token.hash(),
        MOST,
    )
    .fetch_optional(conn)
    .await
    .map_err(|error| match violated_constraint(&error) {
        Some("door_keys_gate_id_fkey") => Error::GateNotFound,
        Some("door_keys_event_id_fkey") => Error::EventNotFound,
        _ => error.into(),
    })?;
    let too_many = || Error::invalid(format!("An event can have at most {MOST} door keys"));
    let key = created.ok_or_else(too_many)?;
    let scan_path = Shown(format!("/scan#{event}.{}", token.0));
    let token = Shown(token.0);
    Ok(NewDoorKey { key, token, scan_path, bundle_keys: bundle_keys.published() })
}

/// Revokes a door key at once, for the event's organiser.
pub async fn revoke(
    conn: &mut PgConnection,
    event: EventId,
    key: DoorKeyId,
    organiser: UserId,
) -> Result<DoorKey> {
    require_organizer(conn, event, organiser, MANAGE).await?;
    let revoked = sqlx::query_as!(
        DoorKey,
        r#"UPDATE door_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 AND event_id = $2
           RETURNING id AS "id: _", event_id AS "event_id: _", name, gate_id AS "gate_id: _", created_at AS "created_at: _", revoked_at AS "revoked_at: _""#,
        key as _,
        event as _,
    );
    revoked.fetch_optional(conn).await?.ok_or(Error::DoorKeyNotFound)
}

/// Looks up the scanners of tokens: those whose key is not revoked, until two days after the event,
/// when nobody comes any more.
pub fn scanners(db: PgPool) -> Groups<Token, Option<Scanner>> {
    Groups::new(move |tokens: Vec<Token>| {
        let db = db.clone();
        async move { promptly_from(&db, async { find(&mut *db.acquire().await?, &tokens).await }).await }
    })
}

async fn find(conn: &mut PgConnection, tokens: &[Token]) -> Result<Vec<Result<Option<Scanner>>>> {
    let hashes: Vec<Vec<u8>> = tokens.iter().map(Token::hash).collect();
    let rows = sqlx::query!(
        r#"SELECT k.id AS "key?: DoorKeyId", k.event_id AS "event?: EventId", k.gate_id AS "gate: GateId"
           FROM unnest($1::bytea[]) WITH ORDINALITY AS asked (hash, number)
           LEFT JOIN (door_keys k JOIN events e ON e.id = k.event_id AND e.end_date > now() - interval '2 days')
               ON k.hash = asked.hash AND k.revoked_at IS NULL
           ORDER BY number"#,
        &hashes,
    )
    .fetch_all(conn)
    .await?;
    let scanner = |(key, event): (_, _), gate| Scanner { key, event, gate };
    Ok(rows
        .into_iter()
        .map(|row| Ok(row.key.zip(row.event).map(|k| scanner(k, row.gate))))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_form_and_is_not_shown() {
        let token = Token::generate();
        assert_eq!(Token::parse(&token.0), Some(token.clone()));
        assert_ne!(Token::generate(), token);
        let debug = format!("{token:?} {:?}", Shown(token.0.clone()));
        assert!(!debug.contains(&token.0[4..]), "{debug}");
        for text in ["", "nxd_", "nxd_short", &token.0[1..], &format!("{}A", token.0)] {
            assert!(Token::parse(text).is_none(), "{text}");
        }
    }
}
