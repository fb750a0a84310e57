//! graphile-worker: jobs are enqueued with its SQL functions in transactions of the driver, and run
//! by its own processes.

use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::json;
use sqlx::{PgPool, Postgres, Transaction};

use super::{Contender, Enqueuing, Setup, Work};
use crate::{
    hub::now,
    measures::repeat,
    servers::{Servers, node, script},
};

const ADD: &str = "SELECT count(*) FROM graphile_worker.add_job($1, $2::json)";
const ADD_MANY: &str = "SELECT count(*) FROM graphile_worker.add_jobs(ARRAY(
    SELECT ($1, $2::json, NULL, NULL, NULL, NULL, NULL, NULL)::graphile_worker.job_spec FROM generate_series(1, $3)))";

/// graphile-worker on the same PostgreSQL.
#[derive(Debug)]
pub struct Graphile {
    db: PgPool,
}

impl Graphile {
    /// Makes its schema.
    pub async fn new(servers: &Servers) -> Result<Self> {
        let mut command = worker(servers, &json!({ "migrate": true }))?;
        let status = tokio::task::spawn_blocking(move || command.status()).await??;
        ensure!(status.success(), "graphile-worker cannot make its schema");
        Ok(Graphile { db: servers.db.clone() })
    }
}

fn worker(servers: &Servers, settings: &serde_json::Value) -> Result<Command> {
    let mut command = servers.command(&node(), "graphile-worker")?;
    command.arg(script("graphile-worker.js")).env("WORKER_SETTINGS", settings.to_string());
    Ok(command)
}

impl Contender for Graphile {
    type Held = Transaction<'static, Postgres>;

    const NAME: &'static str = "graphile-worker";

    async fn reset(&mut self) -> Result<()> {
        sqlx::query("TRUNCATE graphile_worker._private_jobs").execute(&self.db).await?;
        Ok(())
    }

    fn worker(&self, servers: &Servers, setup: &Setup) -> Result<Command> {
        worker(servers, &setup.settings)
    }

    async fn enqueue(&mut self, how: Enqueuing) -> Result<f64> {
        let db = self.db.clone();
        repeat(how, async move || {
            let mut tx = db.begin().await?;
            if how.batch == 1 {
                sqlx::query(ADD).bind("noop").bind(json!({})).execute(&mut *tx).await?;
            } else {
                add_many(&mut tx, Work::Noop, how.batch).await?;
            }
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    async fn hold(&mut self, work: Work, jobs: usize) -> Result<Self::Held> {
        let mut tx = self.db.begin().await?;
        add_many(&mut tx, work, jobs).await?;
        Ok(tx)
    }

    async fn release(&mut self, held: Self::Held) -> Result<()> {
        Ok(held.commit().await?)
    }

    async fn is_idle(&mut self) -> Result<bool> {
        let none = "SELECT NOT EXISTS (SELECT FROM graphile_worker._private_jobs)";
        Ok(sqlx::query_scalar(none).fetch_one(&self.db).await?)
    }

    async fn probe(&mut self, seq: u64) -> Result<u64> {
        let mut tx = self.db.begin().await?;
        sqlx::query(ADD).bind("probe").bind(json!({ "seq": seq })).execute(&mut *tx).await?;
        let before = now();
        tx.commit().await?;
        Ok(before)
    }
}

async fn add_many(tx: &mut Transaction<'static, Postgres>, work: Work, jobs: usize) -> Result<()> {
    let (name, payload) = match work {
        Work::Noop => ("noop", json!({})),
        Work::Wait(ms) => ("wait", json!({ "ms": ms })),
    };
    sqlx::query(ADD_MANY).bind(name).bind(payload).bind(jobs as i32).execute(&mut **tx).await?;
    Ok(())
}
