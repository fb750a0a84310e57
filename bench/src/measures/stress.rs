//! What one event, or one slow part, does to everything else: an event that all buyers want, an
//! event whose inventory a transaction holds, commits that take long, and a dump that takes long.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use futures_util::{
    StreamExt, TryStreamExt,
    future::{join, join_all, try_join_all},
    stream,
};
use nexus_sandbox::providers::{Outcome, Pay};
use tokio::time::sleep;

use super::webhook;
use crate::{
    release::Release,
    samples::percentile,
    servers::Servers,
    site::{OnSale, Site, milliseconds},
    slow_line::SlowLine,
};

/// Time of a round trip between PostgreSQL and its clients, in [`hot_event`].
pub const ROUND_TRIP: Duration = Duration::from_millis(4);
/// Buyers who pay for seats of one event, in [`hot_event`].
pub const PAYING: usize = 200;
/// Buyers who pay for seats of the event that is held, and as many for the other one, in
/// [`held_event`].
pub const PAYING_BESIDE: usize = 20;
/// Clients that lock seats meanwhile.
pub const LOCKING: usize = 16;
/// How long a flush takes in [`slow_commits`]; microseconds, as PostgreSQL counts.
pub const FLUSH: u32 = 5_000;
/// Clients that deliver webhooks, in [`slow_commits`].
pub const DELIVERING: usize = 32;
/// Jobs that have gone since the snapshot of [`old_snapshot`] was taken.
pub const GONE: i32 = 200_000;

/// How long a measurement runs that would not end by itself.
const WATCH: Duration = Duration::from_secs(4);
/// The longest wait for an end: after it, what has happened by then counts.
const PATIENCE: Duration = Duration::from_secs(25);
/// Buyers who get ready at once.
const AT_ONCE: usize = 32;

/// Requests that were answered.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    /// Per second.
    pub rate: f64,
    /// Milliseconds.
    pub p99: f64,
}

/// All buyers pay for, and lock, seats of the same event, whose database is a few milliseconds
/// away.
#[derive(Debug, Clone, Copy)]
pub struct Hot {
    /// Bookings per second.
    pub confirmed: f64,
    pub locks: Answered,
}

/// See [`Hot`].
pub async fn hot_event(servers: &Servers, release: &Release) -> Result<Hot> {
    let line = SlowLine::to(servers.postgres.port(), ROUND_TRIP).await?;
    let site = Site::open(servers, release, line.port()).await?;
    let event = site.event(1_000_000).await?;
    let orders = orders(&site, event, 0..PAYING).await?;
    servers.settle().await?;

    let start = Instant::now();
    pay(&site, &orders)?;
    let paid = AtomicBool::new(false);
    let until_paid = async {
        let confirmed = until_confirmed(servers, event, start).await;
        paid.store(true, Ordering::Relaxed);
        confirmed
    };
    let (confirmed, locks) =
        join(until_paid, lock(&site, event, || !paid.load(Ordering::Relaxed))).await;
    let hot = Hot { confirmed: confirmed? as f64 / start.elapsed().as_secs_f64(), locks };
    site.close().await?;
    Ok(hot)
}

/// A transaction holds the inventory of one event: what buyers of another one see of it.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// Locks of the other event.
    pub locks: Answered,
    /// Until the other event's payments had become bookings, in milliseconds.
    pub confirmed_after: f64,
}

/// See [`Held`].
pub async fn held_event(servers: &Servers, release: &Release) -> Result<Held> {
    let site = Site::open(servers, release, servers.postgres.port()).await?;
    let (held, other) = (site.event(1_000_000).await?, site.event(1_000_000).await?);
    let orders_held = orders(&site, held, 0..PAYING_BESIDE).await?;
    let orders_other = orders(&site, other, 0..PAYING_BESIDE).await?;
    servers.settle().await?;

    let mut holder = servers.db.begin().await?;
    sqlx::query("SELECT FROM event_inventory WHERE event_id = $1 FOR UPDATE")
        .bind(held.event())
        .execute(&mut *holder)
        .await?;
    pay(&site, &orders_held)?;
    // Requests for seats of the event that is held: they wait, and their outcome does not matter.
    let waiting = join_all((0..LOCKING).map(|client| {
        let token = &site.tokens[client];
        site.lock(token, held, &format!("W{client}")).send()
    }));
    let beside = async {
        sleep(Duration::from_millis(500)).await;
        let begun = Instant::now();
        let locks = lock(&site, other, || begun.elapsed() < WATCH).await;
        let begun = Instant::now();
        pay(&site, &orders_other)?;
        until_confirmed(servers, other, begun).await?;
        let confirmed_after = milliseconds(begun.elapsed());
        holder.rollback().await?;
        anyhow::Ok(Held { locks, confirmed_after })
    };
    let (_, held) = join(waiting, beside).await;
    site.close().await?;
    held
}

/// Every flush of PostgreSQL's log takes a while: how many webhooks are stored all the same.
pub async fn slow_commits(servers: &Servers, release: &Release) -> Result<Answered> {
    let site = Site::open(servers, release, servers.postgres.port()).await?;
    servers.settle().await?;
    set_flush(servers, FLUSH).await?;
    let next = AtomicU64::new(0);
    let begun = Instant::now();
    let client = async || -> Result<Vec<f64>> {
        let mut took = Vec::new();
        while begun.elapsed() < WATCH {
            let sent = Instant::now();
            let response = webhook(&site, next.fetch_add(1, Ordering::Relaxed)).send().await?;
            ensure!(
                response.status().is_success(),
                "a webhook was refused: {}",
                response.text().await?
            );
            took.push(milliseconds(sent.elapsed()));
        }
        Ok(took)
    };
    let took = try_join_all((0..DELIVERING).map(|_| client())).await?.concat();
    let answered = answered(took, begun.elapsed());
    set_flush(servers, 0).await?;
    site.close().await?;
    Ok(answered)
}

/// A transaction holds a snapshot, as a dump does, and many jobs have gone since: bookings per
/// second.
pub async fn old_snapshot(servers: &Servers, release: &Release) -> Result<f64> {
    let mut dump = servers.db.begin().await?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *dump).await?;
    sqlx::query("SELECT FROM jobs LIMIT 1").execute(&mut *dump).await?;
    sqlx::query(
        "INSERT INTO jobs (id, queue, kind, payload, max_attempts, available_at)
         SELECT gen_random_uuid(), 'payments', 'process_webhook', '{}', 1, now() - interval '1 minute'
         FROM generate_series(1, $1)",
    )
    .bind(GONE)
    .execute(&servers.db)
    .await?;
    for step in [
        "UPDATE jobs SET state = 'queued', queued_at = now(), delivery = 1 WHERE state = 'pending'",
        "UPDATE jobs SET state = 'running', leased_until = now() WHERE state = 'queued'",
        "UPDATE jobs SET state = 'done', leased_until = NULL, finished_at = now() WHERE state = 'running'",
    ] {
        sqlx::query(step).execute(&servers.db).await?;
    }
    let site = Site::open(servers, release, servers.postgres.port()).await?;
    let event = site.event(1_000_000).await?;
    let orders = orders(&site, event, 0..PAYING).await?;
    servers.settle().await?;
    let start = Instant::now();
    pay(&site, &orders)?;
    let confirmed =
        until_confirmed(servers, event, start).await? as f64 / start.elapsed().as_secs_f64();
    site.close().await?;
    dump.rollback().await?;
    Ok(confirmed)
}

async fn set_flush(servers: &Servers, microseconds: u32) -> Result<()> {
    // With no other transaction open, too.
    for setting in [format!("commit_delay = {microseconds}"), "commit_siblings = 0".to_owned()] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("ALTER SYSTEM SET {setting}")))
            .execute(&servers.db)
            .await?;
    }
    sqlx::query("SELECT pg_reload_conf()").execute(&servers.db).await?;
    Ok(())
}

/// Orders of as many buyers, each for one seat.
async fn orders(site: &Site, event: OnSale, buyers: std::ops::Range<usize>) -> Result<Vec<String>> {
    let order =
        async |buyer: usize| site.order(&site.tokens[buyer], event, &format!("B{buyer}")).await;
    stream::iter(buyers).map(order).buffer_unordered(AT_ONCE).try_collect().await
}

/// The buyers pay; webhooks are on their way when this returns.
fn pay(site: &Site, orders: &[String]) -> Result<()> {
    for order in orders {
        let paid = site.providers.pay(&Pay::order(order, Outcome::Captured));
        ensure!(paid.is_ok(), "{order} could not be paid: {paid:?}");
    }
    Ok(())
}

/// Waits until no booking of `event` is pending, for [`PATIENCE`] at most; returns how many are
/// confirmed.
async fn until_confirmed(servers: &Servers, event: OnSale, begun: Instant) -> Result<i64> {
    let look =
        "SELECT count(*) FILTER (WHERE status = 'pending'), count(*) FILTER (WHERE status = 'confirmed')
                FROM bookings WHERE event_id = $1";
    loop {
        let (pending, confirmed): (i64, i64) =
            sqlx::query_as(look).bind(event.event()).fetch_one(&servers.db).await?;
        if pending == 0 || begun.elapsed() > PATIENCE {
            return Ok(confirmed);
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Clients that lock one seat of `event` after the other. One that is not answered in time counts
/// with the time that it waited.
async fn lock(site: &Site, event: OnSale, go_on: impl Fn() -> bool) -> Answered {
    let begun = Instant::now();
    let next = AtomicU64::new(0);
    let client = async || {
        let (mut took, mut locked) = (Vec::new(), 0);
        while go_on() {
            let seat = next.fetch_add(1, Ordering::Relaxed);
            let token = &site.tokens[PAYING + seat as usize % (site.tokens.len() - PAYING)];
            let sent = Instant::now();
            let response = site.lock(token, event, &format!("L{seat}")).send().await;
            took.push(milliseconds(sent.elapsed()));
            locked += usize::from(response.is_ok_and(|response| response.status().is_success()));
        }
        (took, locked)
    };
    let (took, locked): (Vec<_>, Vec<_>) =
        join_all((0..LOCKING).map(|_| client())).await.into_iter().unzip();
    let answered = answered(took.concat(), begun.elapsed());
    Answered {
        rate: locked.iter().sum::<usize>() as f64 / begun.elapsed().as_secs_f64(),
        ..answered
    }
}

fn answered(mut took: Vec<f64>, time: Duration) -> Answered {
    took.sort_by(f64::total_cmp);
    Answered { rate: took.len() as f64 / time.as_secs_f64(), p99: percentile(&took, 0.99) }
}
