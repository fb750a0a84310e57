//! `nexus-probe enqueue JSON [rollback]`: enqueues jobs in one transaction, and prints their ids,
//! null for those that a live job stands for.

use std::{process::ExitCode, time::Duration};

use nexus_common::jobs::{self, Job, JobId};
use serde::Deserialize;
use sqlx::{Connection, PgConnection};

use crate::jobs::{Hasty, Patient, Plain, Script, Urgent};

#[derive(Deserialize)]
struct Order {
    kind: String,
    delay_ms: Option<u64>,
    #[serde(flatten)]
    script: Script,
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let orders: Vec<Order> = serde_json::from_str(&arguments.next().unwrap_or_default()).unwrap();
    let commit = arguments.next().is_none();

    let mut conn = PgConnection::connect(&std::env::var("DATABASE_URL").unwrap()).await.unwrap();
    let mut tx = conn.begin().await.unwrap();
    let mut ids = Vec::new();
    for Order { kind, delay_ms, script } in orders {
        ids.push(match kind.as_str() {
            "probe" => enqueue(&mut tx, &Plain(script), delay_ms).await,
            "probe_hasty" => enqueue(&mut tx, &Hasty(script), delay_ms).await,
            "probe_patient" => enqueue(&mut tx, &Patient(script), delay_ms).await,
            "probe_urgent" => enqueue(&mut tx, &Urgent(script), delay_ms).await,
            _ => panic!("there is no kind {kind}"),
        });
    }
    if commit {
        tx.commit().await.unwrap()
    } else {
        tx.rollback().await.unwrap()
    }
    println!("{}", serde_json::to_string(&ids).unwrap());
    ExitCode::SUCCESS
}

async fn enqueue<J: Job>(conn: &mut PgConnection, job: &J, delay_ms: Option<u64>) -> Option<JobId> {
    let enqueued = match delay_ms {
        Some(delay) => jobs::enqueue_in(conn, job, Duration::from_millis(delay)).await,
        None => jobs::enqueue(conn, job).await,
    };
    enqueued.unwrap()
}
