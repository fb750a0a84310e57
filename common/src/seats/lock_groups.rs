//! How a group of requests for seats of one event is decided: one statement gathers all facts, every
//! verdict is reached in memory, and one statement writes all locks.
//! [`lock_queues`](super::lock_queues) forms the groups.
//!
//! At first nobody is kept from changing the inventory between the two: the second statement writes
//! only if the inventory still has the version that the facts had, and so have the accounts of the
//! users, who may lock seats of other events at the same time. Only when one has another, or when
//! locks have run out and are to be cleared away, everything is decided anew with the inventory
//! locked, and then the accounts.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use sqlx::{Connection, PgConnection, types::Json};

use super::{
    freeing::{self, Freed},
    lock::{Lock, Request, Terms, WonLocks},
    unpaid::{self, Account},
};
use crate::{
    config::Unpaid,
    error::{Error, Result, violated_constraint},
    events::{event::require_visible, inventory},
    storage::postgres::{self, promptly},
    types::{
        ids::{EventId, NetworkHash, SeatId, SeatTypeId, UserId},
        seats::SeatLabel,
        statuses::SeatStatus,
        visibility::{Viewer, Visibility},
    },
};

/// What a group needs to know before it can be decided.
struct Facts {
    /// `None`: there is no such event.
    event: Option<EventFacts>,
    users: HashSet<UserId>,
    /// Those who may not lock seats of the event, because they have proved no phone.
    unproved: HashSet<UserId>,
    /// Those who have to wait for their turn in the event's waiting room.
    uncalled: HashSet<UserId>,
    /// The number left of each of the event's wanted seat types.
    types: HashMap<SeatTypeId, i32>,
    taken: HashSet<(SeatTypeId, SeatLabel)>,
    held: HashMap<UserId, i64>,
    /// What the users hold without paying for it.
    accounts: HashMap<UserId, Account>,
    /// Free seats, best first: enough for all requests of the group.
    best: HashMap<SeatTypeId, VecDeque<SeatLabel>>,
    /// Whether locks of the wanted seat types have run out and not been cleared away.
    expired: bool,
}

struct EventFacts {
    /// Published and not started: otherwise the seats can no longer be booked, so they are not
    /// locked.
    on_sale: bool,
    version: i64,
    visibility: Visibility,
    most_per_user: i32,
}

/// How many more of the best seats are looked for than are wanted: other groups may take some
/// before this one has its turn.
const SPARE: usize = 100;

/// A seat that a request gets, and the count of its type after it.
type Grant = (SeatTypeId, SeatLabel, i32);

/// Expired locks of a seat type that a group clears away, even if it needs fewer: its counts are
/// then right unless the expiry worker is far behind.
const ROOM: usize = 50;

/// The requests of a group, and what they want in all.
struct Group<'a> {
    event: EventId,
    requests: &'a [Request],
    wanted: BTreeMap<SeatTypeId, usize>,
}

/// Decides requests for seats of `event` and writes what they win; returns one result per request,
/// in order. [`Error::Collision`] when everything must be decided anew, with the inventory locked.
pub(super) async fn decide(
    conn: &mut PgConnection,
    event: EventId,
    requests: &[Request],
    terms: Terms,
) -> Result<Vec<Result<WonLocks>>> {
    let group = Group::new(event, requests);
    let (best, facts) = promptly(async {
        let best = group.best_seats(conn).await?;
        let facts = facts(conn, &group, &group.named(&best), terms).await?;
        Ok((best, facts))
    })
    .await?;
    if facts.expired {
        return Err(Error::Collision("locks have run out".into()));
    }
    group.write(conn, facts, best, vec![], terms).await
}

/// The same with the inventory locked. Also clears expired locks away: those of the seats that are
/// wanted by name, and as many as make room for what is wanted in all. Clearing away much more is
/// not this group's job.
pub(super) async fn decide_locked(
    conn: &mut PgConnection,
    event: EventId,
    requests: &[Request],
    terms: Terms,
) -> Result<Vec<Result<WonLocks>>> {
    let group = Group::new(event, requests);
    let mut tx = conn.begin().await?;
    // Looked for before the inventory is locked, while no other group waits for this one: the more
    // seats are sold, the longer it takes.
    let best = group.best_seats(&mut tx).await?;
    inventory::lock_inventory(&mut tx, &[event]).await?;
    let named = group.named(&best);
    let room = group.wanted.iter().map(|(id, count)| (*id, (*count).max(ROOM))).collect();
    let cleared = freeing::free_expired(&mut tx, &named, &room).await?;
    // After everything that another event's transaction may hold: no account waits for an event.
    unpaid::lock_accounts(&mut tx, &group.users()).await?;
    let facts = facts(&mut tx, &group, &named, terms).await?;
    let results = group.write(&mut tx, facts, best, cleared, terms).await?;
    if results.iter().any(Result::is_ok) {
        tx.commit().await?;
    } else {
        tx.rollback().await?;
    }
    Ok(results)
}

impl<'a> Group<'a> {
    fn new(event: EventId, requests: &'a [Request]) -> Self {
        let mut wanted: BTreeMap<SeatTypeId, usize> = BTreeMap::new();
        for request in requests {
            for (seat_type, count) in request.selection.wanted() {
                *wanted.entry(seat_type).or_default() += count;
            }
        }
        Group { event, requests, wanted }
    }

    /// In order.
    fn users(&self) -> Vec<UserId> {
        let users: BTreeSet<UserId> = self.requests.iter().map(|request| request.user).collect();
        Vec::from_iter(users)
    }

    /// For how long each user may hold seats without paying for them; if from several networks, the
    /// least.
    fn most_seconds(&self, users: &[UserId], unpaid: Unpaid) -> Vec<i64> {
        let spent = self.requests.iter().filter(|request| request.is_spent);
        let spent: HashSet<UserId> = spent.map(|request| request.user).collect();
        let seconds = |user| 60 * i64::from(unpaid.seat_minutes_of(spent.contains(user)));
        users.iter().map(seconds).collect()
    }

    /// The best seats of the types of which somebody wants the best, with some to spare.
    async fn best_seats(
        &self,
        conn: &mut PgConnection,
    ) -> Result<HashMap<SeatTypeId, VecDeque<SeatLabel>>> {
        let types: BTreeSet<SeatTypeId> = self
            .requests
            .iter()
            .flat_map(|request| request.selection.best.keys().copied())
            .collect();
        let most = types.iter().filter_map(|id| Some((*id, *self.wanted.get(id)? + SPARE)));
        best_seats(conn, most, true).await
    }

    /// The seats that somebody may get.
    fn named(
        &self,
        best: &HashMap<SeatTypeId, VecDeque<SeatLabel>>,
    ) -> Vec<(SeatTypeId, SeatLabel)> {
        let named =
            self.requests.iter().flat_map(|request| request.selection.seats.iter().cloned());
        let best =
            best.iter().flat_map(|(id, labels)| labels.iter().map(|label| (*id, label.clone())));
        named.chain(best).collect()
    }

    /// Reaches the verdicts and writes the locks.
    async fn write(
        &self,
        conn: &mut PgConnection,
        mut facts: Facts,
        best: HashMap<SeatTypeId, VecDeque<SeatLabel>>,
        mut cleared: Vec<Freed>,
        terms: Terms,
    ) -> Result<Vec<Result<WonLocks>>> {
        facts.best = facts.still_free(conn, best, &self.wanted).await?;
        let verdicts: Vec<Result<Vec<Grant>>> =
            self.requests.iter().map(|request| facts.verdict(request, terms)).collect();
        let winners: Vec<(&Request, &Grant)> = self
            .requests
            .iter()
            .zip(&verdicts)
            .flat_map(|(request, verdict)| {
                verdict.iter().flatten().map(move |grant| (request, grant))
            })
            .collect();
        let Some(EventFacts { version, visibility, .. }) = facts.event else {
            return Ok(verdicts.into_iter().map(|_| Err(Error::EventNotFound)).collect());
        };
        let accounts = &facts.accounts;
        let (mut locks, version) =
            insert(conn, self.event, version, accounts, &winners, terms).await?;
        let results = verdicts.into_iter().map(|verdict| {
            let locks = verdict?.into_iter().map(|(seat_type, label, left)| {
                let lock = locks.remove(&(seat_type, label));
                lock.map(|lock| (lock, left)).ok_or_else(|| Error::internal("a lock is missing"))
            });
            Ok(WonLocks {
                locks: locks.collect::<Result<_>>()?,
                version,
                visibility,
                cache_hit: false,
                cleared: std::mem::take(&mut cleared),
            })
        });
        Ok(results.collect())
    }
}

impl Facts {
    /// Decides one request and counts it: returns the seats that it gets, or the reason for none.
    fn verdict(&mut self, request: &Request, terms: Terms) -> Result<Vec<Grant>> {
        let selection = &request.selection;
        let event = self.event.as_ref().ok_or(Error::EventNotFound)?;
        if !self.users.contains(&request.user) {
            return Err(Error::TokenInvalid);
        }
        let viewer = Viewer { user: Some(request.user), code: request.code };
        require_visible(event.visibility, viewer)?;
        if !event.on_sale {
            return Err(Error::EventNotOnSale);
        }
        if !request.is_admitted && self.uncalled.contains(&request.user) {
            return Err(Error::QueueRequired(selection.event));
        }
        if self.unproved.contains(&request.user) {
            return Err(Error::PhoneNotVerified);
        }
        let account = self.accounts.entry(request.user).or_default();
        account.require_calm(terms.unpaid, request.is_spent)?;
        let wanted = selection.wanted();
        if wanted.keys().any(|id| !self.types.contains_key(id)) {
            return Err(Error::SeatTypeNotFound);
        }
        if let Some((_, label)) = selection.seats.iter().find(|seat| self.taken.contains(seat)) {
            return Err(Error::SeatTaken(label.to_string()));
        }
        if wanted
            .iter()
            .any(|(id, count)| self.types.get(id).is_none_or(|left| (*left as usize) < *count))
        {
            return Err(Error::SoldOut);
        }
        let held = self.held.entry(request.user).or_default();
        let total = wanted.values().sum::<usize>() as i64;
        if *held + total > i64::from(event.most_per_user) {
            return Err(Error::TicketLimit(event.most_per_user));
        }
        account.hold(total, event.most_per_user, terms.unpaid, request.is_spent)?;
        *held += total;

        let mut grants = Vec::with_capacity(total as usize);
        for (seat_type, label) in &selection.seats {
            self.grant(*seat_type, label.clone(), &mut grants);
        }
        for (seat_type, count) in &selection.best {
            for _ in 0..*count {
                let free = self.best.get_mut(seat_type);
                // As many free labels as seats are left: see `facts`.
                let label = free.and_then(|free| {
                    std::iter::from_fn(|| free.pop_front())
                        .find(|l| !self.taken.contains(&(*seat_type, l.clone())))
                });
                // Only the count of a Node service beside us says that there is one.
                let label = label.ok_or(Error::SoldOut)?;
                self.grant(*seat_type, label, &mut grants);
            }
        }
        Ok(grants)
    }

    /// Of the `best` seats that were free before the inventory was opened, those that still are. In
    /// the rare case that others have taken so many that the rest may not be enough, it looks
    /// again: they stay free for as long as the inventory has the version of the facts.
    async fn still_free(
        &self,
        conn: &mut PgConnection,
        mut best: HashMap<SeatTypeId, VecDeque<SeatLabel>>,
        wanted: &BTreeMap<SeatTypeId, usize>,
    ) -> Result<HashMap<SeatTypeId, VecDeque<SeatLabel>>> {
        let mut short = Vec::new();
        for (seat_type, labels) in &mut best {
            labels.retain(|label| !self.taken.contains(&(*seat_type, label.clone())));
            let left = self.types.get(seat_type).map_or(0, |left| *left as usize);
            let needed = wanted.get(seat_type).copied().unwrap_or(0).min(left);
            if labels.len() < needed {
                short.push((*seat_type, needed));
            }
        }
        best.extend(best_seats(conn, short.into_iter(), false).await?);
        Ok(best)
    }

    fn grant(&mut self, seat_type: SeatTypeId, label: SeatLabel, grants: &mut Vec<Grant>) {
        if let Some(left) = self.types.get_mut(&seat_type) {
            *left -= 1;
            self.taken.insert((seat_type, label.clone()));
            grants.push((seat_type, label, *left));
        }
    }
}

async fn facts(
    conn: &mut PgConnection,
    group: &Group<'_>,
    named: &[(SeatTypeId, SeatLabel)],
    terms: Terms,
) -> Result<Facts> {
    let type_ids: Vec<SeatTypeId> = group.wanted.keys().copied().collect();
    let users = group.users();
    let (seat_types, labels): (Vec<SeatTypeId>, Vec<&SeatLabel>) =
        named.iter().map(|(seat_type, label)| (*seat_type, label)).unzip();
    // One statement, so that all facts and the version belong together. Locked, pending and
    // confirmed seats count alike for a user: each has a row (docs/contract.md#change-7). Of what a
    // user has held and not paid for, it reads the newest thousand rows.
    let row = sqlx::query!(
        r#"SELECT e.status = 'published' AND e.taken_down_at IS NULL AS "published!", e.start_date <= clock_timestamp() AS "started!",
                  coalesce(e.max_tickets_per_user, 10) AS "most!", i.version, event_visibility(e) AS "visibility!: Json<Visibility>",
                  ARRAY(SELECT id FROM users WHERE id = ANY ($2) AND erased_at IS NULL) AS "users!: Vec<UserId>",
                  ARRAY(SELECT id FROM users WHERE e.require_verified_phone AND id = ANY ($2)
                        AND (phone IS NULL OR phone_verified_at IS NULL)) AS "unproved!: Vec<UserId>",
                  ARRAY(SELECT id FROM waiting_rooms r, unnest($2::int[]) AS u (id) WHERE r.event_id = e.id AND r.state <> 'closed'
                        AND NOT EXISTS (SELECT 1 FROM waiting_room_visitors v WHERE v.event_id = e.id AND v.user_id = u.id
                                            AND v.called_at IS NOT NULL AND v.ended_at IS NULL AND v.window_ends_at > statement_timestamp())) AS "uncalled!: Vec<UserId>",
                  types.ids AS "types: Vec<SeatTypeId>", types.counts,
                  taken.types AS "taken_types: Vec<SeatTypeId>", taken.labels AS "taken_labels: Vec<SeatLabel>",
                  held.users AS "held_by: Vec<UserId>", held.counts AS held, accounts.list AS "accounts: Json<Vec<(UserId, i64, i64, i64, i64, i64, i64)>>",
                  EXISTS (SELECT 1 FROM unnest($3::int[]) wanted (id), LATERAL (
                      SELECT 1 FROM seats s WHERE s.event_seat_type_id = wanted.id AND s.status = 'locked' AND s.expires_at <= now()
                      LIMIT 1) expired) AS "expired!"
           FROM events e JOIN event_inventory i ON i.event_id = e.id
           CROSS JOIN LATERAL (
               SELECT array_agg(id) AS ids, array_agg(available_quantity) AS counts
               FROM event_seat_types t WHERE t.event_id = e.id AND t.id = ANY ($3)
           ) types
           CROSS JOIN LATERAL (
               SELECT array_agg(s.event_seat_type_id) AS types, array_agg(s.seat_label::text) AS labels
               FROM unnest($4::int[], $5::text[]) AS wanted (seat_type, label)
               JOIN seats s ON s.event_seat_type_id = wanted.seat_type AND s.seat_label = wanted.label
           ) taken
           CROSS JOIN LATERAL (
               SELECT array_agg(user_id) AS users, array_agg(n) AS counts
               FROM (SELECT user_id, count(*) AS n FROM seats
                     WHERE event_id = e.id AND user_id = ANY ($2) AND (status = 'booked' OR expires_at > now())
                     GROUP BY user_id) held
           ) held
           CROSS JOIN LATERAL (
               SELECT json_agg(json_build_array(
                          u.id, coalesce(h.version, 0), mine.n, (mine.seconds + coalesce(past.seconds, 0))::bigint,
                          coalesce(extract(epoch FROM past.last_too_much + interval '1 day' - statement_timestamp()), 0)::bigint,
                          coalesce(past.endings, 0), coalesce(extract(epoch FROM statement_timestamp() - past.last_ending), 0)::bigint)) AS list
               FROM unnest($2::int[], $6::bigint[]) AS u (id, most_seconds) LEFT JOIN seat_holders h ON h.user_id = u.id
               CROSS JOIN LATERAL (
                   SELECT count(*) FILTER (WHERE expires_at > statement_timestamp()) AS n,
                          coalesce(sum(extract(epoch FROM least(expires_at, statement_timestamp()) - locked_at)), 0) AS seconds
                   FROM seats WHERE user_id = u.id AND status <> 'booked'
               ) mine
               CROSS JOIN LATERAL (
                   SELECT sum(seat_seconds) AS seconds, count(*) FILTER (WHERE is_ending) AS endings,
                          max(ended_at) FILTER (WHERE is_ending) AS last_ending,
                          max(ended_at) FILTER (WHERE newer + mine.seconds >= u.most_seconds) AS last_too_much
                   FROM (SELECT ended_at, seat_seconds, is_ending, sum(seat_seconds) OVER (ORDER BY ended_at DESC ROWS UNBOUNDED PRECEDING) AS newer
                         FROM unpaid_holds WHERE user_id = u.id AND ended_at > statement_timestamp() - interval '1 day'
                         ORDER BY ended_at DESC LIMIT 1000) newest
               ) past
           ) accounts
           WHERE e.id = $1"#,
        group.event as _,
        &users as _,
        &type_ids as _,
        &seat_types as _,
        &labels as _,
        &group.most_seconds(&users, terms.unpaid),
    )
    .fetch_optional(&mut *conn)
    .await?;
    let mut facts = Facts {
        event: None,
        users: HashSet::new(),
        unproved: HashSet::new(),
        uncalled: HashSet::new(),
        types: HashMap::new(),
        taken: HashSet::new(),
        held: HashMap::new(),
        accounts: HashMap::new(),
        best: HashMap::new(),
        expired: false,
    };
    let Some(row) = row else { return Ok(facts) };
    facts.event = Some(EventFacts {
        on_sale: row.published && !row.started,
        version: row.version,
        visibility: row.visibility.0,
        most_per_user: row.most,
    });
    facts.users = row.users.into_iter().collect();
    facts.unproved = row.unproved.into_iter().collect();
    facts.uncalled = row.uncalled.into_iter().collect();
    facts.types = pairs(row.types, row.counts).collect();
    facts.taken = pairs(row.taken_types, row.taken_labels).collect();
    facts.held = pairs(row.held_by, row.held).collect();
    let accounts = row.accounts.map(|list| list.0).unwrap_or_default();
    facts.accounts = accounts
        .into_iter()
        .map(|(user, version, seats, seat_seconds, until_room, endings, since_ending)| {
            let account =
                Account { version, seats, seat_seconds, until_room, endings, since_ending };
            (user, account)
        })
        .collect();
    facts.expired = row.expired;
    Ok(facts)
}

/// Two columns of which PostgreSQL has aggregated the rows.
fn pairs<A, B>(left: Option<Vec<A>>, right: Option<Vec<B>>) -> impl Iterator<Item = (A, B)> {
    left.unwrap_or_default().into_iter().zip(right.unwrap_or_default())
}

/// The best free seats of some types, a number of each, including expired locks if `expired`. Seats
/// have no map: behind the first letter of the type's name (V1, V2, … of VIP), the lower the number
/// the better. No type has fewer numbers than seats, so a seat that is left has a free number; and of
/// as many numbers as are taken and wanted, as many as are wanted are free. How many are taken, the
/// type's count says; but with `expired` false, who has been told too few asks again, and they are
/// counted: a Node service beside us forgets locks in its counts.
async fn best_seats(
    conn: &mut PgConnection,
    wanted: impl Iterator<Item = (SeatTypeId, usize)>,
    expired: bool,
) -> Result<HashMap<SeatTypeId, VecDeque<SeatLabel>>> {
    let (types, counts): (Vec<SeatTypeId>, Vec<i64>) =
        wanted.map(|(id, count)| (id, count as i64)).unzip();
    let mut best: HashMap<SeatTypeId, VecDeque<SeatLabel>> =
        types.iter().map(|id| (*id, VecDeque::new())).collect();
    if types.is_empty() {
        return Ok(best);
    }
    let rows = sqlx::query!(
        r#"SELECT t.id AS "id: SeatTypeId", free.label AS "label!: SeatLabel"
           FROM unnest($1::int[], $2::bigint[]) AS wanted (id, most)
           JOIN event_seat_types t ON t.id = wanted.id
           CROSS JOIN LATERAL (
               SELECT letter || n AS label
               FROM (SELECT coalesce(upper(substring(t.name FROM '[A-Za-z]')), 'S') AS letter, generate_series(1, least(t.quantity, wanted.most + CASE
                         WHEN $3 THEN t.quantity - t.available_quantity ELSE (SELECT count(*) FROM seats s WHERE s.event_seat_type_id = t.id) END)) AS n) numbers
               WHERE NOT EXISTS (SELECT 1 FROM seats s WHERE s.event_seat_type_id = t.id AND s.seat_label = letter || n
                                   AND (NOT $3 OR s.status = 'booked' OR s.expires_at > statement_timestamp()))
               ORDER BY n LIMIT wanted.most
           ) free"#,
        &types as _,
        &counts,
        expired,
    )
    .fetch_all(conn)
    .await?;
    for row in rows {
        best.entry(row.id).or_default().push_back(row.label);
    }
    Ok(best)
}

/// Writes locks, if the inventory still has the version of `before`, and the users' accounts have
/// theirs; returns them by seat, and the inventory's new version.
async fn insert(
    conn: &mut PgConnection,
    event: EventId,
    before: i64,
    accounts: &HashMap<UserId, Account>,
    winners: &[(&Request, &Grant)],
    terms: Terms,
) -> Result<(HashMap<(SeatTypeId, SeatLabel), Lock>, i64)> {
    if winners.is_empty() {
        return Ok((HashMap::new(), before));
    }
    let (users, networks): (Vec<UserId>, Vec<NetworkHash>) =
        winners.iter().map(|(request, _)| (request.user, request.network)).unzip();
    let (types, labels): (Vec<SeatTypeId>, Vec<&SeatLabel>) =
        winners.iter().map(|(_, (seat_type, label, _))| (*seat_type, label)).unzip();
    let holders: BTreeSet<UserId> = users.iter().copied().collect();
    let (holders, versions): (Vec<UserId>, Vec<i64>) = holders
        .into_iter()
        .map(|user| (user, accounts.get(&user).map_or(0, |account| account.version)))
        .unzip();
    let rows = sqlx::query!(
        r#"WITH held AS (
               UPDATE event_inventory SET version = version + 1 WHERE event_id = $1 AND version = $2 RETURNING version
           ), counted AS (
               UPDATE event_seat_types t SET available_quantity = available_quantity - taken.n
               FROM (SELECT id, count(*)::integer AS n FROM unnest($3::int[]) id GROUP BY id) taken, held WHERE t.id = taken.id
           ), holding AS (
               INSERT INTO seat_holders AS holder (user_id, version)
               SELECT user_id, seen + 1 FROM held, unnest($7::int[], $8::bigint[]) AS holder (user_id, seen) ORDER BY user_id
               ON CONFLICT (user_id) DO UPDATE SET version = CASE holder.version WHEN excluded.version - 1 THEN excluded.version ELSE -1 END
           ), locked AS (
               INSERT INTO seats (event_id, event_seat_type_id, seat_label, user_id, network, status, locked_at, expires_at)
               SELECT $1, type_id, label, user_id, network, 'locked', clock_timestamp(), clock_timestamp() + $6::interval
               FROM held, unnest($3::int[], $4::text[], $5::int[], $9::bigint[]) AS winner (type_id, label, user_id, network)
               RETURNING id, event_seat_type_id, seat_label, user_id, locked_at, expires_at
           )
           SELECT locked.id AS "id: SeatId", event_seat_type_id AS "seat_type: SeatTypeId", seat_label AS "label: SeatLabel",
                  user_id AS "user!: UserId", locked_at AS "locked_at!", expires_at AS "expires_at!", held.version
           FROM locked, held"#,
        event as _,
        before,
        &types as _,
        &labels as _,
        &users as _,
        postgres::interval(terms.valid)?,
        &holders as _,
        &versions,
        &networks as _,
    )
    .fetch_all(&mut *conn)
    .await
    // What the inventory's version does not cover: the Node service locks and counts without it,
    // accounts are deleted, and their users lock seats of other events.
    .map_err(|error| match violated_constraint(&error) {
        Some(_) => Error::Collision(Box::new(error)),
        None => error.into(),
    })?;
    let version = rows.first().map(|row| row.version);
    let version =
        version.ok_or_else(|| Error::Collision("the inventory has another version".into()))?;
    let locks = rows.into_iter().map(|row| {
        let lock = Lock {
            id: row.id,
            event_id: event,
            event_seat_type_id: row.seat_type,
            seat_label: row.label,
            user_id: row.user,
            status: SeatStatus::Locked,
            locked_at: row.locked_at.into(),
            expires_at: row.expires_at.into(),
        };
        ((lock.event_seat_type_id, lock.seat_label.clone()), lock)
    });
    Ok((locks.collect(), version))
}
