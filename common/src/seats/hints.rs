//! The Redis keys of locked seats, `seat_lock:{event}:{type}:{label}`, in the form that the Node
//! service uses (docs/contract.md#existing-data). They turn away the second request for a seat
//! without asking PostgreSQL, which has the final word.

use std::{collections::BTreeMap, time::Duration};

use redis::{ExistenceCheck, Pipeline, SetExpiry, SetOptions};
use serde::Serialize;

use crate::{
    realtime::AfterCommit,
    storage::Cache,
    types::{
        ids::{EventId, SeatTypeId, UserId},
        seats::SeatKey,
        time::Timestamp,
    },
};

/// The outcome of an attempt to take a seat's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// The key is ours; PostgreSQL decides next.
    Won,
    /// Another user has it.
    Taken,
    /// Redis does not answer; PostgreSQL alone decides.
    Unknown,
}

/// The JSON under a key, as the Node service writes it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LockValue<'a> {
    user_id: UserId,
    locked_at: Timestamp,
    expires_at: Timestamp,
    seat_label: &'a str,
    event_id: EventId,
    seat_type_id: SeatTypeId,
}

/// A key lives this long until PostgreSQL has committed, so that a crash in between cannot block a
/// free seat.
const UNCOMMITTED: Duration = Duration::from_secs(5);
/// How often, at most, a taken key is compared with PostgreSQL.
const RECHECK: Duration = Duration::from_secs(2);

/// Tries to take the seat's key for `user` until the database has decided.
pub(super) async fn take(
    cache: &Cache,
    seat: &SeatKey,
    user: UserId,
    now: Timestamp,
    until: Timestamp,
) -> Hint {
    let value = lock_value(seat, user, now, until);
    match set_if_absent(cache, key(seat), value, UNCOMMITTED).await {
        Some(true) => Hint::Won,
        Some(false) => Hint::Taken,
        None => Hint::Unknown,
    }
}

/// Whether this caller is to compare a taken key with PostgreSQL: the key may have outlived its
/// row.
pub(super) async fn may_recheck(cache: &Cache, seat: &SeatKey) -> bool {
    set_if_absent(cache, format!("{}:checked", key(seat)), "1".into(), RECHECK).await == Some(true)
}

async fn set_if_absent(cache: &Cache, key: String, value: String, lives: Duration) -> Option<bool> {
    let options = SetOptions::default()
        .conditional_set(ExistenceCheck::NX)
        .with_expiration(SetExpiry::PX(lives.as_millis() as u64));
    let command = redis::Cmd::set_options(key, value, options);
    cache.command::<Option<()>>(&command).await.map(|set| set.is_some())
}

/// Follows a committed lock or booking: the keys live until its deadline and belong to it, even if
/// another user had them before. `now` is PostgreSQL's time.
pub fn keep(
    after: &mut AfterCommit,
    seats: &[SeatKey],
    user: UserId,
    now: Timestamp,
    until: Timestamp,
) {
    let left = (until.0 - now.0).num_milliseconds();
    if let Some(left) = u64::try_from(left).ok().filter(|left| *left > 0) {
        for seat in seats {
            after.cache().pset_ex(key(seat), lock_value(seat, user, now, until), left).ignore();
        }
    }
}

/// Gives back keys that were taken in vain.
pub(super) async fn give_back(cache: &Cache, seats: &[SeatKey], user: UserId) {
    if !seats.is_empty() {
        let mut pipe = redis::pipe();
        remove(&mut pipe, seats.iter().map(key).collect(), user);
        cache.pipeline::<()>(&pipe).await;
    }
}

/// Follows seats that have been freed or booked: removes those of their keys that their holders
/// still have.
pub fn drop_keys<'a>(
    after: &mut AfterCommit,
    seats: impl IntoIterator<Item = (UserId, &'a SeatKey)>,
) {
    let mut keys: BTreeMap<UserId, Vec<String>> = BTreeMap::new();
    for (holder, seat) in seats {
        keys.entry(holder).or_default().push(key(seat));
    }
    for (holder, keys) in keys {
        remove(after.cache(), keys, holder);
    }
}

fn remove(pipe: &mut Pipeline, keys: Vec<String>, user: UserId) {
    pipe.cmd("EVAL").arg(REMOVE).arg(keys.len()).arg(keys).arg(user.0).ignore();
}

/// Removes those of the keys that belong to one user.
const REMOVE: &str = r"
for _, key in ipairs(KEYS) do
    local value = redis.call('GET', key)
    if value then
        local ok, lock = pcall(cjson.decode, value)
        if ok and tostring(lock.userId) == ARGV[1] then redis.call('DEL', key) end
    end
end";

/// Removes a key that has outlived its row.
pub async fn drop_stale(cache: &Cache, seat: &SeatKey) {
    cache.command::<()>(&redis::Cmd::del(key(seat))).await;
}

fn key(seat: &SeatKey) -> String {
    format!("seat_lock:{}:{}:{}", seat.event.0, seat.seat_type.0, seat.label)
}

fn lock_value(seat: &SeatKey, user: UserId, now: Timestamp, until: Timestamp) -> String {
    let value = LockValue {
        user_id: user,
        locked_at: now,
        expires_at: until,
        seat_label: seat.label.as_str(),
        event_id: seat.event,
        seat_type_id: seat.seat_type,
    };
    serde_json::to_string(&value).unwrap_or_default()
}
