//! A worker for jobs that do nothing, built as Nexus's own workers are. It reports to the driver
//! what it runs.

use std::{
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nexus_bench::{
    hub::{BENCH_HUB, Said, Voice, now},
    jobs::{Noop, Probe, QUEUE, Wait},
};
use nexus_common::{Error, Result, config::Env};
use nexus_worker::{Attempt, Build, Context, JobFailure};

struct Reporter {
    ran: Arc<AtomicU64>,
    voice: Mutex<Voice>,
}

impl Reporter {
    fn from_env(_: &mut Env) -> Build<Self> {
        let hub = std::env::var(BENCH_HUB);
        Box::new(move || {
            let voice = Voice::call(&hub.map_err(Error::internal)?).map_err(Error::internal)?;
            let ran = Arc::new(AtomicU64::new(0));
            count(ran.clone(), voice.another().map_err(Error::internal)?);
            Ok(Reporter { ran, voice: Mutex::new(voice) })
        })
    }
}

/// Says how many have run whenever that has changed.
fn count(ran: Arc<AtomicU64>, mut voice: Voice) {
    std::thread::spawn(move || {
        let mut said = 0;
        loop {
            std::thread::sleep(Duration::from_millis(10));
            let now = ran.load(Ordering::Relaxed);
            if now != said {
                said = now;
                if voice.say(&Said::Ran { ran: now }).is_err() {
                    return;
                }
            }
        }
    });
}

async fn noop(cx: Arc<Context<Reporter>>, _: Noop, _: Attempt) -> Result<(), JobFailure> {
    cx.ran.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

async fn wait(cx: Arc<Context<Reporter>>, job: Wait, _: Attempt) -> Result<(), JobFailure> {
    cx.ran.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(job.duration()).await;
    Ok(())
}

async fn probe(cx: Arc<Context<Reporter>>, job: Probe, _: Attempt) -> Result<(), JobFailure> {
    let said = Said::Probe { probe: job.seq, at: now() };
    let _ = cx.voice.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).say(&said);
    cx.ran.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

fn main() -> ExitCode {
    nexus_worker::run_worker(QUEUE, Reporter::from_env, |worker| worker.on(noop).on(wait).on(probe))
}
