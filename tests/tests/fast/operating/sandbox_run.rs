//! `nexus-sandbox run`, which is what `make run` does: one command, and everything is there; one
//! signal, and everything is gone.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use nexus_tests::client::http_client;
use nexus_tests::program::Program;
use nexus_tests::settings::TempDir;
use nexus_tests::{Client, Response, Value, eventually, seen};

const STARTS_WITHIN: Duration = Duration::from_secs(40);

/// A run in a data folder of its own.
struct Run {
    program: Program,
    dir: TempDir,
    url: String,
}

impl Run {
    fn start() -> Self {
        let dir = TempDir::create();
        let port = nexus_sandbox::ports::free();
        let data = dir.join("data");
        let env = vec![
            ("NEXUS_DATA".to_owned(), data.display().to_string()),
            ("PORT".to_owned(), port.to_string()),
            ("NO_COLOR".to_owned(), "1".to_owned()),
        ];
        // The Procfile is read from the current directory, as after `cd` into a checkout.
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        std::fs::copy(repository.join("Procfile"), dir.join("Procfile"))
            .expect("the repository's Procfile");
        let mut program = Program::new("nexus-sandbox", "nexus-sandbox", &["run"], env, &dir);
        program.start();
        Self { program, dir, url: format!("http://127.0.0.1:{port}") }
    }

    /// Waits for the env file, which appears when everything is there; returns it.
    async fn ready(&mut self) -> BTreeMap<String, String> {
        let path = self.dir.join("data/env");
        let text = eventually("the env file is written", STARTS_WITHIN, async || {
            assert!(self.program.is_running(), "nexus-sandbox ended:\n{}", self.program.log());
            std::fs::read_to_string(&path).map_err(|_| self.program.log())
        })
        .await;
        let unquoted = |value: &str| value.trim_matches('\'').to_owned();
        text.lines()
            .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
            .map(|(name, value)| (name.to_owned(), unquoted(value)))
            .collect()
    }

    fn client(&self) -> Client {
        Client::anonymous(&http_client(), &self.url)
    }

    async fn demo_events(&self) -> Vec<Value> {
        let events = self.client().get("/events").await.data();
        events.as_array().cloned().unwrap_or_default()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.program.print_log();
        }
    }
}

/// Processes that run in the directory, or whose environment or command line names it.
fn processes_of(dir: &Path) -> Vec<String> {
    let home = dir.to_owned();
    let dir = dir.display().to_string();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let named = processes.filter_map(|process| {
        let read = |file: &str| {
            String::from_utf8_lossy(&std::fs::read(process.path().join(file)).unwrap_or_default())
                .into_owned()
        };
        let command = read("cmdline").replace('\0', " ");
        let runs_there =
            std::fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&home));
        (runs_there || command.contains(&dir) || read("environ").contains(&dir)).then_some(command)
    });
    named.filter(|command| !command.is_empty()).collect()
}

#[tokio::test]
async fn one_command_starts_everything_and_a_second_world_fits_beside_it() {
    let mut first = Run::start();
    let mut second = Run::start();
    let settings = [first.ready().await, second.ready().await];
    for (run, settings) in [&first, &second].into_iter().zip(&settings) {
        assert_eq!(settings["API_URL"], run.url);
        run.client().get_root("/ready").await.ok();
        let events = run.demo_events().await;
        assert_eq!(events.len(), 1, "demo events: {events:?}");
        assert_eq!(events[0]["total_seats"], 550, "{events:?}");
        let sandbox =
            Response::to(http_client().get(format!("{}/sandbox/calls", settings["SANDBOX_URL"])))
                .await;
        assert_eq!(sandbox.status, 200, "{sandbox}");
        for process in ["API", "OTP", "PAYMENTS", "BOOKINGS", "EXPIRY", "CLEANUP", "NOTIFICATIONS"]
        {
            let url = &settings[&format!("{process}_METRICS_URL")];
            let metrics = Response::to(http_client().get(url)).await;
            assert!(metrics.text.contains("# TYPE nexus_"), "{process}: {metrics}");
        }
        // The servers, and every process of the Procfile.
        for name in ["nexus-api", "postgres", "redis-server"] {
            let running = processes_of(&run.dir);
            assert!(
                running.iter().any(|command| command.contains(name)),
                "{name} among {running:#?}"
            );
        }
        for queue in nexus_tests::stack::QUEUES {
            let running = processes_of(&run.dir);
            let worker = format!("nexus-worker-{queue}");
            assert!(
                running.iter().any(|command| command.contains(&worker)),
                "{worker} among {running:#?}"
            );
        }
    }
    for name in [
        "DATABASE_URL",
        "REDIS_URL",
        "JWT_SECRET",
        "TICKET_SIGNING_KEY",
        "SANDBOX_URL",
        "SMTP_URL",
        "API_METRICS_URL",
    ] {
        assert_ne!(settings[0][name], settings[1][name], "{name} is not shared");
    }

    for run in [&mut first, &mut second] {
        let status = run.program.stop().await;
        assert_eq!(status.code(), Some(0), "{}", run.program.log());
        assert!(!run.dir.join("data/env").exists(), "the env file goes with what it describes");
        eventually("no process is left", Duration::from_secs(5), async || {
            let left = processes_of(&run.dir);
            seen(left.is_empty(), left).map(drop)
        })
        .await;
    }
}

#[tokio::test]
async fn what_was_stored_is_there_at_the_next_start_and_kill_9_leaves_no_process() {
    let mut run = Run::start();
    let settings = run.ready().await;
    let before = run.demo_events().await;
    run.program.kill_9().await;
    eventually("no process is left", Duration::from_secs(20), async || {
        let left = processes_of(&run.dir);
        seen(left.is_empty(), left).map(drop)
    })
    .await;
    std::fs::remove_file(run.dir.join("data/env")).ok();

    run.program.start();
    let again = run.ready().await;
    assert_eq!(run.demo_events().await, before, "the demo event is kept and not made twice");
    for name in ["JWT_SECRET", "TICKET_SIGNING_KEY", "RAZORPAY_KEY_ID", "DATABASE_URL"] {
        assert_eq!(again[name], settings[name], "{name} after a restart");
    }
    assert_eq!(run.program.stop().await.code(), Some(0));
}
