//! Nexus, through the functions that its API and workers use.

use std::process::Command;

use anyhow::Result;
use nexus_common::jobs::{self, wakeups};
use sqlx::{PgPool, Postgres, Transaction};

use super::{Contender, Enqueuing, Setup, Work};
use crate::{
    hub::now,
    jobs::{Noop, Probe, QUEUE, Wait},
    measures::repeat,
    release::Release,
    servers::Servers,
};

#[derive(Debug)]
pub struct Nexus {
    db: PgPool,
    redis: redis::aio::MultiplexedConnection,
}

impl Nexus {
    /// On these servers.
    pub async fn new(servers: &Servers) -> Result<Self> {
        wakeups::start(servers.db.clone());
        Ok(Nexus { db: servers.db.clone(), redis: servers.redis_connection().await? })
    }
}

impl Contender for Nexus {
    type Held = Transaction<'static, Postgres>;

    const NAME: &'static str = "Nexus";

    async fn reset(&mut self) -> Result<()> {
        sqlx::query("TRUNCATE jobs").execute(&self.db).await?;
        redis::cmd("FLUSHALL").query_async::<()>(&mut self.redis).await?;
        Ok(())
    }

    fn worker(&self, servers: &Servers, setup: &Setup) -> Result<Command> {
        let mut command =
            servers.command(&Release::of_driver()?.binary("nexus-bench-worker")?, "nexus")?;
        for (name, value) in setup.settings.as_object().into_iter().flatten() {
            command.env(name, value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
        Ok(command)
    }

    async fn enqueue(&mut self, how: Enqueuing) -> Result<f64> {
        let db = self.db.clone();
        repeat(how, async move || {
            let mut tx = db.begin().await?;
            if how.batch == 1 {
                jobs::enqueue(&mut tx, &Noop {}).await?;
            } else {
                jobs::enqueue_all(&mut tx, &vec![(Noop {}, None); how.batch]).await?;
            }
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    async fn hold(&mut self, work: Work, jobs: usize) -> Result<Self::Held> {
        let mut tx = self.db.begin().await?;
        // A thousand a statement, as a caller with many jobs would do it.
        for left in (1..=jobs).rev().step_by(1_000) {
            let jobs = left.min(1_000);
            match work {
                Work::Noop => jobs::enqueue_all(&mut tx, &vec![(Noop {}, None); jobs]).await?,
                Work::Wait(ms) => {
                    jobs::enqueue_all(&mut tx, &vec![(Wait { ms }, None); jobs]).await?
                }
            };
        }
        Ok(tx)
    }

    async fn release(&mut self, held: Self::Held) -> Result<()> {
        held.commit().await?;
        wakeups::committed();
        Ok(())
    }

    async fn is_idle(&mut self) -> Result<bool> {
        let live = "SELECT NOT EXISTS (SELECT FROM jobs WHERE queue = $1 AND state IN ('queued', 'running'))
                       AND NOT EXISTS (SELECT FROM jobs WHERE queue = $1 AND state = 'pending')";
        Ok(sqlx::query_scalar(live).bind(QUEUE.name()).fetch_one(&self.db).await?)
    }

    async fn probe(&mut self, seq: u64) -> Result<u64> {
        let mut tx = self.db.begin().await?;
        jobs::enqueue(&mut tx, &Probe { seq }).await?;
        let before = now();
        tx.commit().await?;
        wakeups::committed();
        Ok(before)
    }
}
