//! Workers whose jobs do as they are told (`tests/probe`): everything that a handler may do, on
//! purpose. And groups of processes that a test ends and starts while something else goes on.

use nexus_sandbox::ports;
use nexus_sandbox::process::Signal;
use serde_json::{Value, json};

use crate::SOON;
use crate::program::Program;
use crate::stack::Stack;
use crate::waiting::{eventually, seen};

/// Several processes of one program. Their logs are printed when a test fails.
#[derive(Debug)]
pub struct Processes(Vec<Program>);

impl Stack {
    /// So many probe processes, not started yet, with these settings beside the stack's.
    pub async fn probes(&self, count: usize, settings: &[(&str, &str)]) -> Processes {
        self.execute(
            "CREATE TABLE IF NOT EXISTS probe_runs (
                 job_id UUID NOT NULL, attempt INTEGER NOT NULL, process INTEGER NOT NULL, at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp())",
        )
        .await;
        self.execute("CREATE INDEX IF NOT EXISTS probe_runs_job ON probe_runs (job_id)").await;
        self.execute(
            "CREATE TABLE IF NOT EXISTS probe_effects (n BIGSERIAL, job_id UUID NOT NULL)",
        )
        .await;
        self.processes("nexus-probe", count, settings)
    }

    /// So many processes of a program, not started yet, with these settings beside the stack's.
    pub fn processes(&self, program: &str, count: usize, settings: &[(&str, &str)]) -> Processes {
        let mut env = self.env().clone();
        env.retain(|(name, _)| !settings.iter().any(|(own, _)| own == name));
        env.extend(settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
        let process =
            |n| Program::new(&format!("{program}-{n}"), program, &[], env.clone(), self.dir());
        Processes((1..=count).map(process).collect())
    }

    /// So many API processes beside the stack's own, not started yet, with these settings beside
    /// the stack's; and their addresses.
    pub fn further_apis(
        &self,
        count: usize,
        settings: &[(&str, &str)],
    ) -> (Processes, Vec<String>) {
        let mut apis = self.processes("nexus-api", count, settings);
        let place = |api: &mut Program| {
            let port = ports::free().to_string();
            api.add_arguments(&["serve"]);
            api.set_env("PORT", &port);
            format!("http://127.0.0.1:{port}")
        };
        let urls = apis.0.iter_mut().map(place).collect();
        (apis, urls)
    }

    /// Enqueues probes in one transaction, as a process of Nexus does it; their ids.
    pub async fn enqueue(&self, jobs: Value) -> Vec<String> {
        let ids = self.try_enqueue(jobs, true).await;
        ids.into_iter().map(|id| id.as_str().expect("a job").to_owned()).collect()
    }

    /// The same for one job that does these steps.
    pub async fn enqueue_one(&self, kind: &str, steps: Value) -> String {
        self.enqueue(json!([{"kind": kind, "steps": steps}])).await.remove(0)
    }

    /// Enqueues probes, then commits or rolls back. Null stands for a job that was not enqueued,
    /// because a live one has its key.
    pub async fn try_enqueue(&self, jobs: Value, commit: bool) -> Vec<Value> {
        let jobs = jobs.to_string();
        let mut arguments = vec!["enqueue", &jobs];
        arguments.extend((!commit).then_some("rollback"));
        let ids = self.cli_ok("nexus-probe", &arguments).await;
        serde_json::from_str(&ids).unwrap_or_else(|error| panic!("{ids}: {error}"))
    }

    /// Enqueues `count` probes with those steps at once. Quick, because it bypasses the code of
    /// Nexus.
    pub async fn flood(&self, count: u32, steps: Value) {
        let payload = json!({"steps": steps});
        let insert = format!(
            "INSERT INTO jobs (id, queue, kind, payload, max_attempts)
             SELECT gen_random_uuid(), 'cleanup', 'probe', '{payload}', 20 FROM generate_series(1, {count})"
        );
        self.execute(&insert).await;
    }

    /// How many jobs ran at the same time, at most.
    pub async fn most_at_once(&self) -> i64 {
        let most = "SELECT max(n) AS most FROM jobs one, LATERAL (
                        SELECT count(*) AS n FROM jobs other
                        WHERE other.started_at <= one.started_at AND other.finished_at > one.started_at) at_once";
        self.row(most).await["most"].as_i64().unwrap_or_default()
    }

    /// A job as the ledger has it.
    pub async fn job(&self, id: &str) -> Value {
        self.row(&format!("SELECT * FROM jobs WHERE id = '{id}'")).await
    }

    /// Waits until a job is in that state; returns it.
    pub async fn until_state(&self, id: &str, state: &str) -> Value {
        eventually(&format!("job {id} is {state}"), SOON, async || {
            let job = self.job(id).await;
            seen(job["state"] == state, job)
        })
        .await
    }

    /// Waits until a probe has begun for the `count`th time.
    pub async fn until_runs(&self, id: &str, count: i64) {
        eventually(&format!("probe {id} has begun {count} times"), SOON, async || {
            let runs = self.runs(id).await;
            seen(runs >= count, runs).map(drop)
        })
        .await;
    }

    /// How often a probe has begun.
    pub async fn runs(&self, id: &str) -> i64 {
        self.count(&format!("probe_runs WHERE job_id = '{id}'")).await
    }

    /// How many effects a probe has committed.
    pub async fn effects(&self, id: &str) -> i64 {
        self.count(&format!("probe_effects WHERE job_id = '{id}'")).await
    }
}

impl Processes {
    /// Starts all of them, and waits until these workers serve their queue.
    pub async fn start(&mut self) {
        self.supervise();
        for process in &mut self.0 {
            process.wait_for_log("worker ready", SOON).await;
        }
    }

    /// Starts those again that have ended.
    pub fn supervise(&mut self) {
        self.0.iter_mut().for_each(Program::start);
    }

    /// One of them, the first is 0.
    pub fn process(&mut self, index: usize) -> &mut Program {
        &mut self.0[index]
    }

    /// How many there are.
    #[allow(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Stops one in its tracks, or lets it go on.
    pub fn pause(&mut self, index: usize, pause: bool) {
        self.0[index].signal(if pause { Signal::STOP } else { Signal::CONT });
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.iter().for_each(Program::print_log);
        }
    }
}
