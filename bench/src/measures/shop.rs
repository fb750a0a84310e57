//! The shop itself, over HTTP.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use tokio::time::{MissedTickBehavior, interval};

use super::webhook;
use crate::{
    cpu::Cpu,
    release::Release,
    samples::percentile,
    servers::Servers,
    site::{OnSale, Site, milliseconds},
};

/// Clients that lock one seat after the other.
pub const CLIENTS: usize = 64;
/// Webhooks a second.
pub const OFFERED: u32 = 500;

/// A shop with seats to sell.
pub struct Shop {
    site: Site,
    on_sale: OnSale,
    next: AtomicU64,
}

/// The result of locking.
#[derive(Debug, Clone, Copy)]
pub struct Locked {
    /// Seats per second.
    pub rate: f64,
    /// Time of one lock, in milliseconds.
    pub p99: f64,
    /// Seconds.
    pub time: f64,
    pub cpu: Cpu,
}

/// The result of delivering webhooks.
#[derive(Debug, Clone, Copy)]
pub struct Delivered {
    /// Stored in a second.
    pub rate: f64,
    /// Answered 503, for Razorpay to try again.
    pub refused: f64,
    /// From the time when it was due to the response, in milliseconds.
    pub p50: f64,
    pub p99: f64,
    /// From the last answer until the jobs of all were done, in milliseconds.
    pub backlog: f64,
}

impl Shop {
    /// Opens a shop with one event and many seats.
    pub async fn open(servers: &Servers) -> Result<Self> {
        let site = Site::open(servers, &Release::of_driver()?, servers.postgres.port()).await?;
        let on_sale = site.event(1_000_000).await?;
        Ok(Shop { site, on_sale, next: AtomicU64::new(0) })
    }

    /// Many clients lock one seat after the other, each different ones.
    pub async fn lock_seats(&self, time: Duration) -> Result<Locked> {
        let (start, before) = (Instant::now(), self.site.cpu());
        let client = async || -> Result<Vec<f64>> {
            let mut took = Vec::new();
            while start.elapsed() < time {
                let seat = self.next.fetch_add(1, Ordering::Relaxed);
                let token = &self.site.tokens[seat as usize % self.site.tokens.len()];
                let request = self.site.lock(token, self.on_sale, &format!("S{seat}"));
                let sent = Instant::now();
                let response = request.send().await?;
                ensure!(
                    response.status().is_success(),
                    "a lock was refused: {}",
                    response.text().await?
                );
                took.push(milliseconds(sent.elapsed()));
            }
            Ok(took)
        };
        let mut took = try_join_all((0..CLIENTS).map(|_| client())).await?.concat();
        let time = start.elapsed().as_secs_f64();
        let cpu = self.site.cpu() - before;
        took.sort_by(f64::total_cmp);
        Ok(Locked { rate: took.len() as f64 / time, p99: percentile(&took, 0.99), time, cpu })
    }

    /// Webhooks at a steady rate, whether they are answered or not.
    pub async fn deliver_webhooks(&self, servers: &Servers, time: Duration) -> Result<Delivered> {
        let count = (time.as_secs_f64() * f64::from(OFFERED)) as usize;
        let mut due = interval(Duration::from_secs(1) / OFFERED);
        due.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let start = Instant::now();
        let mut calls = Vec::new();
        for _ in 0..count {
            let due = due.tick().await.into_std();
            let request = webhook(&self.site, self.next.fetch_add(1, Ordering::Relaxed));
            calls.push(tokio::spawn(async move {
                let response = request.send().await?;
                anyhow::Ok((milliseconds(due.elapsed()), response.status().is_success()))
            }));
        }
        let (mut took, mut stored) = (Vec::new(), 0);
        for call in calls {
            let (milliseconds, is_stored) = call.await??;
            took.push(milliseconds);
            stored += usize::from(is_stored);
        }
        let rate = stored as f64 / start.elapsed().as_secs_f64();
        let refused = (count - stored) as f64;
        took.sort_by(f64::total_cmp);
        let answered = Instant::now();
        let open = "SELECT EXISTS (SELECT FROM jobs WHERE state IN ('pending', 'queued', 'running') AND kind = 'process_webhook')";
        while sqlx::query_scalar(open).fetch_one(&servers.db).await? {
            ensure!(answered.elapsed() < Duration::from_secs(60), "webhooks are not processed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let backlog = milliseconds(answered.elapsed());
        Ok(Delivered {
            rate,
            refused,
            p50: percentile(&took, 0.5),
            p99: percentile(&took, 0.99),
            backlog,
        })
    }

    /// Ends the processes.
    pub async fn close(self) -> Result<()> {
        self.site.close().await
    }
}
