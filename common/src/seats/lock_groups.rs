//! How a group of requests for seats is decided: a few statements gather all facts with the
//! inventory locked, every verdict is reached in memory, and one insert writes all locks.
//! [`lock_queues`](super::lock_queues) forms the groups.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    time::Duration,
};

use sqlx::PgConnection;

use super::{
    freeing,
    lock::{Lock, Request, WonLocks},
};
use crate::{
    error::{Error, Result, violated_constraint},
    events::inventory,
    storage::postgres,
    types::{
        ids::{EventId, SeatId, SeatTypeId, UserId},
        seats::SeatLabel,
        statuses::EventStatus,
    },
};

/// What a group needs to know before it can be decided.
struct Facts {
    events: HashMap<EventId, EventFacts>,
    users: HashSet<UserId>,
    /// Event and number left, by seat type.
    types: HashMap<SeatTypeId, (EventId, i32)>,
    taken: HashSet<(SeatTypeId, SeatLabel)>,
    held: HashMap<(EventId, UserId), i64>,
    /// Free seats, best first: enough for all requests of the group.
    best: HashMap<SeatTypeId, VecDeque<SeatLabel>>,
}

struct EventFacts {
    /// Published and not started: otherwise the seats can no longer be booked, so they are not
    /// locked.
    on_sale: bool,
    version: i64,
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

/// Decides the requests; returns one result per request, in order.
pub(super) async fn decide(
    conn: &mut PgConnection,
    requests: &[Request],
    valid: Duration,
) -> Result<Vec<Result<WonLocks>>> {
    let events: BTreeSet<EventId> =
        requests.iter().map(|request| request.selection.event).collect();
    let mut wanted: BTreeMap<SeatTypeId, usize> = BTreeMap::new();
    for request in requests {
        for (seat_type, count) in request.selection.wanted() {
            *wanted.entry(seat_type).or_default() += count;
        }
    }
    let events = Vec::from_iter(events);

    // Looked for before the inventory is locked, while no other group waits for this one: the more
    // seats are sold, the longer it takes.
    let best_of: BTreeSet<SeatTypeId> =
        requests.iter().flat_map(|request| request.selection.best.keys().copied()).collect();
    let most = best_of.iter().filter_map(|id| Some((*id, *wanted.get(id)? + SPARE)));
    let best = best_seats(conn, most, true).await?;
    inventory::lock_inventory(conn, &events).await?;
    // Expired locks of the seats wanted by name, and room for as many seats as are wanted in all.
    // Clearing away much more is not this group's job.
    let room = wanted.iter().map(|(id, count)| (*id, (*count).max(ROOM))).collect();
    let named: Vec<(SeatTypeId, SeatLabel)> = requests
        .iter()
        .flat_map(|request| request.selection.seats.iter().cloned())
        .chain(best.iter().flat_map(|(id, labels)| labels.iter().map(|label| (*id, label.clone()))))
        .collect();
    let mut cleared = freeing::free_expired(conn, &named, &room).await?;
    let mut facts = facts(conn, requests, &events, &wanted, &named).await?;
    facts.best = facts.still_free(conn, best, &wanted).await?;

    let verdicts: Vec<Result<Vec<Grant>>> =
        requests.iter().map(|request| facts.verdict(request)).collect();
    let winners: Vec<(&Request, &Grant)> = requests
        .iter()
        .zip(&verdicts)
        .flat_map(|(request, verdict)| verdict.iter().flatten().map(move |grant| (request, grant)))
        .collect();
    let mut locks = insert(conn, &winners, valid).await?;

    let mut results = Vec::with_capacity(requests.len());
    for (request, verdict) in requests.iter().zip(verdicts) {
        let result = match verdict {
            Ok(grants) => collect(conn, grants, &mut locks).await?,
            Err(error) => Err(error),
        };
        results.push(result.map(|locks| WonLocks {
            locks,
            version: facts.events.get(&request.selection.event).map_or(0, |event| event.version),
            cache_hit: false,
            cleared: std::mem::take(&mut cleared),
        }));
    }
    Ok(results)
}

/// Collects the locks of one request. A granted lock that was not inserted has gone to the Node
/// service, which does not lock the inventory: then the request's other locks are undone.
async fn collect(
    conn: &mut PgConnection,
    grants: Vec<Grant>,
    inserted: &mut HashMap<(SeatTypeId, SeatLabel), Lock>,
) -> Result<Result<Vec<(Lock, i32)>>> {
    let mut locks = Vec::with_capacity(grants.len());
    let mut lost = None;
    for (seat_type, label, left) in grants {
        match inserted.remove(&(seat_type, label.clone())) {
            Some(lock) => locks.push((lock, left)),
            None => lost = Some(label),
        }
    }
    let Some(label) = lost else { return Ok(Ok(locks)) };
    let undone: Vec<SeatId> = locks.iter().map(|(lock, _)| lock.id).collect();
    freeing::free(conn, &undone).await?;
    Ok(Err(Error::SeatTaken(label.to_string())))
}

impl Facts {
    /// Decides one request and counts it: returns the seats that it gets, or the reason for none.
    fn verdict(&mut self, request: &Request) -> Result<Vec<Grant>> {
        let selection = &request.selection;
        let event = self.events.get(&selection.event).ok_or(Error::EventNotFound)?;
        if !self.users.contains(&request.user) {
            return Err(Error::TokenInvalid);
        }
        if !event.on_sale {
            return Err(Error::EventNotOnSale);
        }
        let wanted = selection.wanted();
        if wanted
            .keys()
            .any(|id| self.types.get(id).is_none_or(|(event, _)| *event != selection.event))
        {
            return Err(Error::SeatTypeNotFound);
        }
        if let Some((_, label)) = selection.seats.iter().find(|seat| self.taken.contains(seat)) {
            return Err(Error::SeatTaken(label.to_string()));
        }
        if wanted
            .iter()
            .any(|(id, count)| self.types.get(id).is_none_or(|(_, left)| (*left as usize) < *count))
        {
            return Err(Error::SoldOut);
        }
        let held = self.held.entry((selection.event, request.user)).or_default();
        let total = wanted.values().sum::<usize>() as i64;
        if *held + total > i64::from(event.most_per_user) {
            return Err(Error::TicketLimit(event.most_per_user));
        }
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
                let label = label.ok_or_else(|| Error::internal("no label for a free seat"))?;
                self.grant(*seat_type, label, &mut grants);
            }
        }
        Ok(grants)
    }

    /// Of the `best` seats that were free before the inventory was opened, those that still are. In
    /// the rare case that others have taken so many that the rest may not be enough, it looks
    /// again: with the inventory locked, free seats stay free.
    async fn still_free(
        &self,
        conn: &mut PgConnection,
        mut best: HashMap<SeatTypeId, VecDeque<SeatLabel>>,
        wanted: &BTreeMap<SeatTypeId, usize>,
    ) -> Result<HashMap<SeatTypeId, VecDeque<SeatLabel>>> {
        let mut short = Vec::new();
        for (seat_type, labels) in &mut best {
            labels.retain(|label| !self.taken.contains(&(*seat_type, label.clone())));
            let left = self.types.get(seat_type).map_or(0, |(_, left)| *left as usize);
            let needed = wanted.get(seat_type).copied().unwrap_or(0).min(left);
            if labels.len() < needed {
                short.push((*seat_type, needed));
            }
        }
        best.extend(best_seats(conn, short.into_iter(), false).await?);
        Ok(best)
    }

    fn grant(&mut self, seat_type: SeatTypeId, label: SeatLabel, grants: &mut Vec<Grant>) {
        if let Some((_, left)) = self.types.get_mut(&seat_type) {
            *left -= 1;
            self.taken.insert((seat_type, label.clone()));
            grants.push((seat_type, label, *left));
        }
    }
}

async fn facts(
    conn: &mut PgConnection,
    requests: &[Request],
    events: &[EventId],
    wanted: &BTreeMap<SeatTypeId, usize>,
    named: &[(SeatTypeId, SeatLabel)],
) -> Result<Facts> {
    let type_ids: Vec<SeatTypeId> = wanted.keys().copied().collect();
    let user_ids: Vec<UserId> = requests.iter().map(|request| request.user).collect();
    let (seat_types, labels): (Vec<SeatTypeId>, Vec<&SeatLabel>) =
        named.iter().map(|(seat_type, label)| (*seat_type, label)).unzip();

    let rows = sqlx::query!(
        r#"SELECT e.id AS "id: EventId", e.status AS "status: EventStatus", e.start_date <= clock_timestamp() AS "started!", coalesce(e.max_tickets_per_user, 10) AS "most!", i.version
           FROM events e JOIN event_inventory i ON i.event_id = e.id WHERE e.id = ANY ($1)"#,
        events as _,
    )
    .fetch_all(&mut *conn)
    .await?;
    // Locked, so that no account can be deleted between this look and the insert.
    let users = sqlx::query_scalar!(
        r#"SELECT id AS "id: UserId" FROM users WHERE id = ANY ($1) ORDER BY id FOR KEY SHARE"#,
        &user_ids as _,
    )
    .fetch_all(&mut *conn)
    .await?;
    let types = sqlx::query!(
        r#"SELECT id AS "id: SeatTypeId", event_id AS "event_id: EventId", available_quantity
           FROM event_seat_types WHERE id = ANY ($1)"#,
        &type_ids as _,
    )
    .fetch_all(&mut *conn)
    .await?;
    let taken = sqlx::query!(
        r#"SELECT s.event_seat_type_id AS "seat_type: SeatTypeId", s.seat_label AS "label: SeatLabel" FROM seats s
           JOIN unnest($1::int[], $2::text[]) AS wanted (seat_type, label)
             ON s.event_seat_type_id = wanted.seat_type AND s.seat_label = wanted.label"#,
        &seat_types as _,
        &labels as _,
    )
    .fetch_all(&mut *conn)
    .await?;
    // Locked, pending and confirmed seats alike: each has a row (docs/contract.md#change-7).
    let held = sqlx::query!(
        r#"SELECT event_id AS "event_id: EventId", user_id AS "user_id!: UserId", count(*) AS "held!" FROM seats
           WHERE event_id = ANY ($1) AND user_id = ANY ($2) AND (status = 'booked' OR expires_at > now())
           GROUP BY event_id, user_id"#,
        events as _,
        &user_ids as _,
    )
    .fetch_all(&mut *conn)
    .await?;

    Ok(Facts {
        events: rows
            .into_iter()
            .map(|row| {
                let on_sale = row.status == EventStatus::Published && !row.started;
                (row.id, EventFacts { on_sale, version: row.version, most_per_user: row.most })
            })
            .collect(),
        users: users.into_iter().collect(),
        types: types
            .into_iter()
            .map(|row| (row.id, (row.event_id, row.available_quantity)))
            .collect(),
        taken: taken.into_iter().map(|row| (row.seat_type, row.label)).collect(),
        held: held.into_iter().map(|row| ((row.event_id, row.user_id), row.held)).collect(),
        best: HashMap::new(),
    })
}

/// The best free seats of some types, a number of each, including expired locks if `expired`. Seats
/// have no map: behind the first letter of the type's name (V1, V2, … of VIP), the lower the number
/// the better. No type has fewer numbers than seats, so a seat that is left has a free number.
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
               FROM (SELECT coalesce(upper(substring(t.name FROM '[A-Za-z]')), 'S') AS letter, generate_series(1, t.quantity) AS n) numbers
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

async fn insert(
    conn: &mut PgConnection,
    winners: &[(&Request, &Grant)],
    valid: Duration,
) -> Result<HashMap<(SeatTypeId, SeatLabel), Lock>> {
    if winners.is_empty() {
        return Ok(HashMap::new());
    }
    let (events, users): (Vec<EventId>, Vec<UserId>) =
        winners.iter().map(|(request, _)| (request.selection.event, request.user)).unzip();
    let (types, labels): (Vec<SeatTypeId>, Vec<&SeatLabel>) =
        winners.iter().map(|(_, (seat_type, label, _))| (*seat_type, label)).unzip();
    let locks = sqlx::query_as!(
        Lock,
        r#"INSERT INTO seats (event_id, event_seat_type_id, seat_label, user_id, status, locked_at, expires_at)
           SELECT event_id, type_id, label, user_id, 'locked', clock_timestamp(), clock_timestamp() + $5::interval
           FROM unnest($1::int[], $2::int[], $3::text[], $4::int[]) AS winner (event_id, type_id, label, user_id)
           ON CONFLICT (event_seat_type_id, seat_label) DO NOTHING
           RETURNING id, event_id, event_seat_type_id, seat_label AS "seat_label: _", user_id AS "user_id!",
                     status AS "status: _", locked_at AS "locked_at!", expires_at AS "expires_at!""#,
        &events as _,
        &types as _,
        &labels as _,
        &users as _,
        postgres::interval(valid)?,
    )
    .fetch_all(&mut *conn)
    .await?;
    let inserted: Vec<SeatTypeId> = locks.iter().map(|lock| lock.event_seat_type_id).collect();
    sqlx::query!(
        "UPDATE event_seat_types t SET available_quantity = available_quantity - taken.n
         FROM (SELECT id, count(*)::integer AS n FROM unnest($1::int[]) id GROUP BY id) taken WHERE t.id = taken.id",
        &inserted as _,
    )
    .execute(conn)
    .await
    // The Node service counts without opening the inventory: seats that were left a moment ago may
    // be gone.
    .map_err(|error| match violated_constraint(&error) {
        Some("seat_types_available_check") => Error::Collision(Box::new(error)),
        _ => error.into(),
    })?;
    let key = |lock: &Lock| (lock.event_seat_type_id, lock.seat_label.clone());
    Ok(locks.into_iter().map(|lock| (key(&lock), lock)).collect())
}
