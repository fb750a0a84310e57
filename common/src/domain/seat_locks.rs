//! How a seat is locked when thousands want it (ARCHITECTURE.md, "Seats: hybrid lock").
//!
//! Redis turns away everyone who comes second. Those it lets through are written to PostgreSQL in groups: whatever arrived while the previous
//! group committed becomes one transaction, because a single hot row commits only so many times a second. A caller is answered after its
//! group's commit. PostgreSQL has the final word; without Redis it decides alone.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;
use sqlx::{PgConnection, PgPool, postgres::types::PgInterval};
use tokio::sync::{mpsc, oneshot};

use super::{
    events::EventStatus,
    ids::{EventId, SeatTypeId, UserId},
    seats::{self, Freed, SeatKey, SeatLabel},
    time::Timestamp,
};
use crate::{
    cache::{Cache, Hint},
    error::{Error, Kind, Result},
};

/// A lock as the API shows it.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)] // columns of `seats`
pub struct Lock {
    pub id: i32,
    pub event_id: EventId,
    pub event_seat_type_id: SeatTypeId,
    pub seat_label: SeatLabel,
    pub user_id: UserId,
    pub status: &'static str,
    pub locked_at: Timestamp,
    pub expires_at: Timestamp,
}

/// A lock that has been won.
#[derive(Clone, Debug)]
pub struct Won {
    /// The lock.
    pub lock: Lock,
    /// What is left of its seat type after it.
    pub available_quantity: i32,
    /// Whether Redis took part in the decision.
    pub cache_hit: bool,
    /// Expired locks that were cleared away with the same commit; whoever gets them tells the clients.
    pub cleared: Vec<Freed>,
}

/// Somebody wants a seat.
#[derive(Clone, Debug)]
struct Request {
    user: UserId,
    seat: SeatKey,
}

type Answer = oneshot::Sender<Result<Won>>;

/// The way to lock a seat. Cheap to clone.
#[derive(Clone)]
pub struct SeatLocks {
    cache: Cache,
    db: PgPool,
    queue: mpsc::Sender<(Request, Answer)>,
    valid: Duration,
}

/// Locks that are written in one transaction.
const GROUP: usize = 100;
/// Locks that may wait; more than that are told to come back.
const WAITING: usize = 10_000;
/// Longest that a caller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(15);

impl SeatLocks {
    /// Starts the task that writes the groups. Locks are valid for `valid`.
    pub fn start(db: PgPool, cache: Cache, valid: Duration) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        tokio::spawn(write_groups(db.clone(), waiting, valid));
        SeatLocks { cache, db, queue, valid }
    }

    /// How long a lock is valid.
    pub fn valid(&self) -> Duration {
        self.valid
    }

    /// Locks `seat` for `user`.
    pub async fn lock(&self, user: UserId, seat: SeatKey) -> Result<Won> {
        let hint = self.take_key(&seat, user).await?;
        let result = self.write(Request { user, seat: seat.clone() }).await;
        match (&result, hint) {
            (Ok(won), _) => {
                let lock = &won.lock;
                self.cache.keep_seats(&[seat], user, lock.locked_at, lock.expires_at).await;
            }
            (Err(_), Hint::Won) => self.cache.drop_seats(&[seat], user).await,
            _ => {}
        }
        result.map(|won| Won { cache_hit: hint == Hint::Won, ..won })
    }

    /// Step 1: Redis turns away who comes second.
    async fn take_key(&self, seat: &SeatKey, user: UserId) -> Result<Hint> {
        let now = Timestamp::now();
        let until = Timestamp(now.0 + self.valid);
        let taken = || Error::SeatTaken(seat.label.to_string());
        match self.cache.take_seat(seat, user, now, until).await {
            Hint::Taken => {}
            hint => return Ok(hint),
        }
        // A key can outlive its row (a crash between a commit and the key's removal). It must not win for long.
        if !self.cache.may_recheck(seat).await {
            return Err(taken());
        }
        let mut conn = self.db.acquire().await?;
        if seats::is_taken(&mut conn, seat).await? {
            return Err(taken());
        }
        drop(conn);
        self.cache.drop_stale_seat(seat).await;
        match self.cache.take_seat(seat, user, now, until).await {
            Hint::Taken => Err(taken()),
            hint => Ok(hint),
        }
    }

    /// Step 2: PostgreSQL decides.
    async fn write(&self, request: Request) -> Result<Won> {
        let (answer, answered) = oneshot::channel();
        let overloaded = || Error::Unavailable("too many locks are waiting".into());
        self.queue.try_send((request, answer)).map_err(|_| overloaded())?;
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::internal("the lock writer is gone")),
            Err(_) => Err(overloaded()),
        }
    }
}

async fn write_groups(db: PgPool, mut waiting: mpsc::Receiver<(Request, Answer)>, valid: Duration) {
    let mut group = Vec::with_capacity(GROUP);
    while waiting.recv_many(&mut group, GROUP).await > 0 {
        // Nobody waits for these any more: a lock that its caller does not hear of would only block the seat.
        group.retain(|(_, answer): &(Request, Answer)| !answer.is_closed());
        let (requests, answers): (Vec<Request>, Vec<Answer>) = group.drain(..).unzip();
        match write_group(&db, &requests, valid).await {
            Ok(results) => {
                for (answer, result) in answers.into_iter().zip(results) {
                    // The caller may have gone; its lock runs out by itself.
                    let _ = answer.send(result);
                }
            }
            // One bad apple must not spoil the group: each by itself, once.
            Err(error) if error.kind() == Kind::Internal && requests.len() > 1 => {
                tracing::error!(error = error.details(), "a group of locks failed; writing one by one");
                for (request, answer) in requests.iter().zip(answers) {
                    let result = write_group(&db, std::slice::from_ref(request), valid).await;
                    let _ = answer.send(result.and_then(|mut only| {
                        only.pop().unwrap_or_else(|| Err(Error::internal("no answer")))
                    }));
                }
            }
            Err(error) => {
                let cause: Arc<str> = error.details().into();
                let unavailable = error.kind() == Kind::Unavailable;
                for answer in answers {
                    let error = if unavailable {
                        Error::Unavailable(cause.as_ref().into())
                    } else {
                        Error::internal(cause.as_ref())
                    };
                    let _ = answer.send(Err(error));
                }
            }
        }
    }
}

/// Writes a group in one transaction; one answer a request, in order.
async fn write_group(db: &PgPool, requests: &[Request], valid: Duration) -> Result<Vec<Result<Won>>> {
    let mut tx = db.begin().await?;
    let answers = decide(&mut tx, requests, valid).await?;
    if answers.iter().any(Result::is_ok) {
        tx.commit().await?;
    } else {
        tx.rollback().await?;
    }
    Ok(answers)
}

/// What a group needs to know before it can be decided.
struct Facts {
    events: HashMap<EventId, EventFacts>,
    users: HashSet<UserId>,
    /// Event and number left, by seat type.
    types: HashMap<SeatTypeId, (EventId, i32)>,
    taken: HashSet<(SeatTypeId, SeatLabel)>,
    held: HashMap<(EventId, UserId), i64>,
}

struct EventFacts {
    on_sale: bool,
    most_per_user: i32,
}

async fn decide(conn: &mut PgConnection, requests: &[Request], valid: Duration) -> Result<Vec<Result<Won>>> {
    let events: BTreeSet<EventId> = requests.iter().map(|request| request.seat.event).collect();
    let types: BTreeSet<SeatTypeId> = requests.iter().map(|request| request.seat.seat_type).collect();
    let (events, types) = (Vec::from_iter(events), Vec::from_iter(types));

    seats::open_inventory(conn, &events).await?;
    let mut cleared = seats::free_expired(conn, &types).await?;
    let mut facts = facts(conn, requests, &events, &types).await?;

    let verdicts: Vec<Result<i32>> = requests.iter().map(|request| facts.verdict(request)).collect();
    let winners: Vec<&Request> =
        requests.iter().zip(&verdicts).filter(|(_, v)| v.is_ok()).map(|(request, _)| request).collect();
    let mut locks = insert(conn, &winners, valid).await?;

    Ok(requests
        .iter()
        .zip(verdicts)
        .map(|(request, verdict)| {
            let available_quantity = verdict?;
            // Not inserted: somebody who does not open the inventory (the Node service) was faster.
            let lock = locks
                .remove(&(request.seat.seat_type, request.seat.label.clone()))
                .ok_or_else(|| Error::SeatTaken(request.seat.label.to_string()))?;
            Ok(Won { lock, available_quantity, cache_hit: false, cleared: std::mem::take(&mut cleared) })
        })
        .collect())
}

impl Facts {
    /// Decides one request, and counts it: the number left after it, or why not.
    fn verdict(&mut self, request: &Request) -> Result<i32> {
        let seat = &request.seat;
        let event = self.events.get(&seat.event).ok_or(Error::EventNotFound)?;
        if !self.users.contains(&request.user) {
            return Err(Error::TokenInvalid);
        }
        if !event.on_sale {
            return Err(Error::EventNotOnSale);
        }
        let (_, available) = self
            .types
            .get_mut(&seat.seat_type)
            .filter(|(event, _)| *event == seat.event)
            .ok_or(Error::SeatTypeNotFound)?;
        let place = (seat.seat_type, seat.label.clone());
        if self.taken.contains(&place) {
            return Err(Error::SeatTaken(seat.label.to_string()));
        }
        if *available < 1 {
            return Err(Error::SoldOut);
        }
        let held = self.held.entry((seat.event, request.user)).or_default();
        if *held >= i64::from(event.most_per_user) {
            return Err(Error::TicketLimit(event.most_per_user));
        }
        *held += 1;
        *available -= 1;
        self.taken.insert(place);
        Ok(*available)
    }
}

async fn facts(
    conn: &mut PgConnection,
    requests: &[Request],
    events: &[EventId],
    types: &[SeatTypeId],
) -> Result<Facts> {
    let event_ids: Vec<i32> = events.iter().map(|event| event.0).collect();
    let type_ids: Vec<i32> = types.iter().map(|seat_type| seat_type.0).collect();
    let user_ids: Vec<i32> = requests.iter().map(|request| request.user.0).collect();
    let (seat_types, labels): (Vec<i32>, Vec<String>) =
        requests.iter().map(|request| (request.seat.seat_type.0, request.seat.label.to_string())).unzip();

    let events = sqlx::query!(
        r#"SELECT id, status, coalesce(max_tickets_per_user, 10) AS "most!" FROM events WHERE id = ANY ($1)"#,
        &event_ids
    )
    .fetch_all(&mut *conn)
    .await?;
    // Locked, so that no account can vanish between this look and the insert.
    let users =
        sqlx::query_scalar!("SELECT id FROM users WHERE id = ANY ($1) ORDER BY id FOR KEY SHARE", &user_ids)
            .fetch_all(&mut *conn)
            .await?;
    let types = sqlx::query!(
        "SELECT id, event_id, available_quantity FROM event_seat_types WHERE id = ANY ($1)",
        &type_ids
    )
    .fetch_all(&mut *conn)
    .await?;
    let taken = sqlx::query!(
        "SELECT s.event_seat_type_id, s.seat_label FROM seats s
         JOIN unnest($1::int[], $2::text[]) AS wanted (seat_type, label)
           ON s.event_seat_type_id = wanted.seat_type AND s.seat_label = wanted.label",
        &seat_types,
        &labels,
    )
    .fetch_all(&mut *conn)
    .await?;
    // Locked, pending and confirmed seats alike: each has a row (CONTRACT.md, section 10, row 7).
    let held = sqlx::query!(
        r#"SELECT event_id, user_id AS "user_id!", count(*) AS "held!" FROM seats
           WHERE event_id = ANY ($1) AND user_id = ANY ($2) AND (status = 'booked' OR expires_at > now())
           GROUP BY event_id, user_id"#,
        &event_ids,
        &user_ids,
    )
    .fetch_all(conn)
    .await?;

    Ok(Facts {
        events: events
            .into_iter()
            .map(|row| {
                let on_sale = row.status == EventStatus::Published.name();
                (EventId(row.id), EventFacts { on_sale, most_per_user: row.most })
            })
            .collect(),
        users: users.into_iter().map(UserId).collect(),
        types: types
            .into_iter()
            .map(|row| (SeatTypeId(row.id), (EventId(row.event_id), row.available_quantity)))
            .collect(),
        taken: taken
            .into_iter()
            .map(|row| (SeatTypeId(row.event_seat_type_id), SeatLabel::from_db(row.seat_label)))
            .collect(),
        held: held.into_iter().map(|row| ((EventId(row.event_id), UserId(row.user_id)), row.held)).collect(),
    })
}

async fn insert(
    conn: &mut PgConnection,
    winners: &[&Request],
    valid: Duration,
) -> Result<HashMap<(SeatTypeId, SeatLabel), Lock>> {
    if winners.is_empty() {
        return Ok(HashMap::new());
    }
    let event_ids: Vec<i32> = winners.iter().map(|request| request.seat.event.0).collect();
    let type_ids: Vec<i32> = winners.iter().map(|request| request.seat.seat_type.0).collect();
    let labels: Vec<String> = winners.iter().map(|request| request.seat.label.to_string()).collect();
    let user_ids: Vec<i32> = winners.iter().map(|request| request.user.0).collect();
    let valid = PgInterval::try_from(valid).map_err(|error| Error::internal(error.to_string()))?;
    let rows = sqlx::query!(
        r#"INSERT INTO seats (event_id, event_seat_type_id, seat_label, user_id, status, locked_at, expires_at)
           SELECT event_id, type_id, label, user_id, 'locked', clock_timestamp(), clock_timestamp() + $5::interval
           FROM unnest($1::int[], $2::int[], $3::text[], $4::int[]) AS winner (event_id, type_id, label, user_id)
           ON CONFLICT (event_seat_type_id, seat_label) DO NOTHING
           RETURNING id, event_id, event_seat_type_id, seat_label, user_id AS "user_id!", locked_at AS "locked_at!",
                     expires_at AS "expires_at!""#,
        &event_ids,
        &type_ids,
        &labels,
        &user_ids,
        valid,
    )
    .fetch_all(&mut *conn)
    .await?;
    let inserted: Vec<i32> = rows.iter().map(|row| row.event_seat_type_id).collect();
    sqlx::query!(
        "UPDATE event_seat_types t SET available_quantity = available_quantity - taken.n
         FROM (SELECT id, count(*)::integer AS n FROM unnest($1::int[]) id GROUP BY id) taken WHERE t.id = taken.id",
        &inserted,
    )
    .execute(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let lock = Lock {
                id: row.id,
                event_id: EventId(row.event_id),
                event_seat_type_id: SeatTypeId(row.event_seat_type_id),
                seat_label: SeatLabel::from_db(row.seat_label),
                user_id: UserId(row.user_id),
                status: "locked",
                locked_at: row.locked_at.into(),
                expires_at: row.expires_at.into(),
            };
            ((lock.event_seat_type_id, lock.seat_label.clone()), lock)
        })
        .collect())
}
