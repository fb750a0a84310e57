//! BullMQ: everything through its own library, in Node. It promises less: jobs are in Redis, which
//! syncs its file once a second, and cannot be enqueued together with anything in PostgreSQL.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use super::{Contender, Enqueuing, Setup, Work};
use crate::{
    hub::{Hub, Peer},
    servers::{Servers, node, script},
};

/// BullMQ on the same Redis.
#[derive(Debug)]
pub struct Bullmq {
    producer: Peer,
    redis: redis::aio::MultiplexedConnection,
}

impl Bullmq {
    /// Starts the process that enqueues.
    pub async fn new(servers: &Servers, hub: &Hub) -> Result<Self> {
        let mut command = servers.command(&node(), "bullmq")?;
        command.arg(script("bullmq-producer.js"));
        Ok(Bullmq { producer: hub.start(command).await?, redis: servers.redis_connection().await? })
    }
}

impl Contender for Bullmq {
    type Held = ();

    const NAME: &'static str = "BullMQ";

    async fn reset(&mut self) -> Result<()> {
        Ok(redis::cmd("FLUSHALL").query_async(&mut self.redis).await?)
    }

    fn worker(&self, servers: &Servers, setup: &Setup) -> Result<Command> {
        let mut command = servers.command(&node(), "bullmq")?;
        command.arg(script("bullmq-worker.js")).env("WORKER_SETTINGS", setup.settings.to_string());
        Ok(command)
    }

    async fn enqueue(&mut self, how: Enqueuing) -> Result<f64> {
        let order = json!({ "order": "enqueue", "ms": how.time.as_millis(), "parallel": how.parallel, "batch": how.batch });
        let response = self.producer.order(order).await?;
        let (calls, seconds) =
            response["calls"].as_f64().zip(response["seconds"].as_f64()).context("no response")?;
        Ok(calls * how.batch as f64 / seconds)
    }

    async fn hold(&mut self, work: Work, jobs: usize) -> Result<()> {
        let (name, data) = match work {
            Work::Noop => ("noop", json!({})),
            Work::Wait(ms) => ("wait", json!({ "ms": ms })),
        };
        self.producer
            .order(json!({ "order": "hold", "jobs": jobs, "name": name, "data": data }))
            .await?;
        Ok(())
    }

    async fn release(&mut self, (): ()) -> Result<()> {
        self.producer.order(json!({ "order": "release" })).await?;
        Ok(())
    }

    async fn is_idle(&mut self) -> Result<bool> {
        Ok(self.producer.order(json!({ "order": "left" })).await? == 0)
    }

    async fn probe(&mut self, seq: u64) -> Result<u64> {
        let sent = self.producer.order(json!({ "order": "probe", "seq": seq })).await?;
        sent.as_u64().context("no time")
    }
}
