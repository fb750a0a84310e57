//! Many clients at once, each of which begins its next request when it has the response to the
//! last one.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use anyhow::Result;
use futures_util::future::try_join_all;

use super::{http::Connection, site::Site};
use crate::{cpu::Cpu, samples::percentile};

/// What some clients were given.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Per second.
    pub rate: f64,
    /// Milliseconds.
    pub p50: f64,
    /// Milliseconds.
    pub p99: f64,
    /// Meanwhile.
    pub cpu: Cpu,
    /// Seconds.
    pub time: f64,
}

/// Lets `clients` do the same thing over and over, for so long, each over a connection of its own.
/// What ends in the first tenth of the time is not counted.
pub async fn load(
    site: &Site,
    clients: usize,
    time: Duration,
    work: impl AsyncFn(usize, &mut Connection) -> Result<()>,
) -> Result<Load> {
    let clients = connections(site.port(), clients).await?;
    closed_loop(clients, time / 10, for_so_long(time), || site.cpu(), work).await
}

/// Lets clients do the same thing over and over while they are to `go_on`. What ends in `warm`, the
/// time at the beginning, is not counted. What ends after the time has its duration counted, but
/// not in the rate. `cpu` says how much has been used so far.
pub async fn closed_loop<C>(
    clients: Vec<C>,
    warm: Duration,
    go_on: impl Fn() -> bool,
    cpu: impl Fn() -> Cpu,
    work: impl AsyncFn(usize, &mut C) -> Result<()>,
) -> Result<Load> {
    let counted_from = Instant::now() + warm;
    let (in_time, end) = (Cell::new(0_usize), Cell::new(None));
    let now = || (Instant::now(), cpu());
    let client = async |(number, mut client): (usize, C)| -> Result<Vec<f64>> {
        let mut took = Vec::new();
        while go_on() {
            let sent = Instant::now();
            work(number, &mut client).await?;
            if Instant::now() >= counted_from {
                took.push(milliseconds(sent.elapsed()));
                in_time.set(in_time.get() + usize::from(go_on()));
            }
        }
        if end.get().is_none() {
            end.set(Some(now()));
        }
        Ok(took)
    };
    let counting = async {
        tokio::time::sleep_until(counted_from.into()).await;
        now()
    };
    let all = try_join_all(clients.into_iter().enumerate().map(client));
    let ((since, before), took) = tokio::join!(counting, all);
    let mut took = took?.concat();
    took.sort_by(f64::total_cmp);
    let (until, after) = end.get().unwrap_or_else(now);
    let time = until.saturating_duration_since(since).as_secs_f64();
    Ok(Load {
        rate: in_time.get() as f64 / time,
        p50: percentile(&took, 0.5),
        p99: percentile(&took, 0.99),
        cpu: after - before,
        time,
    })
}

/// So many connections.
pub async fn connections(port: u16, count: usize) -> Result<Vec<Connection>> {
    try_join_all((0..count).map(|_| Connection::open(port))).await
}

/// Goes on until that much time has passed.
pub fn for_so_long(time: Duration) -> impl Fn() -> bool {
    let begun = Instant::now();
    move || begun.elapsed() < time
}

/// A duration as reports write it.
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
