//! Starts the Procfile's processes together, each again when it ends, and stops them together.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nexus_sandbox::process::{self, Process, Signal};
use tokio::process::{ChildStderr, ChildStdout};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::console::{Speaker, say};
use crate::settings::Settings;

const STOP_PATIENCE: Duration = Duration::from_secs(15);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A process that ran this long has recovered from what made it fall over.
const RECOVERED: Duration = Duration::from_secs(60);

/// One line of the Procfile.
#[derive(Debug, Clone)]
pub(crate) struct ProcfileEntry {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    speaker: Speaker,
}

impl ProcfileEntry {
    /// A program of `bin_dir`, or else of PATH.
    pub(crate) fn new(name: &str, command: &str, bin_dir: &Path, index: usize) -> Option<Self> {
        let mut words = command.split_whitespace().map(str::to_owned);
        let program = PathBuf::from(words.next()?);
        let beside = bin_dir.join(&program);
        Some(Self {
            name: name.to_owned(),
            program: if beside.is_file() { beside } else { program },
            arguments: words.collect(),
            speaker: Speaker::new(name, index),
        })
    }

    /// Its name in the Procfile.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Starts it with its output going to the console.
    fn start(&self, settings: &Settings) -> Result<Process> {
        let mut command = process::command(&self.program, None, "KILL");
        command
            .args(&self.arguments)
            .envs(settings.0.iter().map(|(name, value)| (name, value)))
            .env("METRICS_ADDRESS", settings.metrics_address(&self.name))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Process::spawn(command)
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        if let Some(pipe) = process.child().stdout.take() {
            tokio::spawn(self.speaker.clone().repeat(ChildStdout::from_std(pipe)?));
        }
        if let Some(pipe) = process.child().stderr.take() {
            tokio::spawn(self.speaker.clone().repeat(ChildStderr::from_std(pipe)?));
        }
        Ok(process)
    }

    /// Runs it to its end.
    pub(crate) async fn run_once(&self, settings: &Settings) -> Result<()> {
        let status = self.start(settings)?.ended().await?;
        // Its last lines are still in the pipe.
        tokio::time::sleep(Duration::from_millis(50)).await;
        if !status.success() {
            bail!("{} failed ({status}); its output above says why", self.name);
        }
        Ok(())
    }
}

/// Reads `name: command arguments` lines.
pub(crate) fn read_procfile(path: &Path, bin_dir: &Path) -> Result<Vec<ProcfileEntry>> {
    let text = std::fs::read_to_string(path).with_context(|| {
        format!("cannot read {}; start from the repository's root", path.display())
    })?;
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .enumerate()
        .map(|(index, line)| {
            let entry = line
                .split_once(':')
                .and_then(|(name, command)| ProcfileEntry::new(name, command, bin_dir, index));
            entry.with_context(|| format!("the Procfile's line {line:?} is not `name: command`"))
        })
        .collect()
}

/// A task for each process starts it again when it ends.
pub(crate) struct Supervisor {
    tasks: JoinSet<()>,
    stop: CancellationToken,
    ready: watch::Sender<bool>,
    gave_up: watch::Sender<bool>,
}

impl Supervisor {
    pub(crate) fn start(entries: Vec<ProcfileEntry>, settings: &Settings) -> Self {
        let mut supervisor = Self {
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
            ready: watch::Sender::new(false),
            gave_up: watch::Sender::new(false),
        };
        for entry in entries {
            let (settings, stop) = (settings.clone(), supervisor.stop.clone());
            let (ready, gave_up) = (supervisor.ready.subscribe(), supervisor.gave_up.clone());
            supervisor.tasks.spawn(supervise(entry, settings, stop, ready, gave_up));
        }
        supervisor
    }

    /// From now on the API is restarted like every other process.
    pub(crate) fn api_is_ready(&self) {
        self.ready.send_replace(true);
    }

    /// Returns when the API ended before it ever was ready: its settings are wrong, and trying
    /// again cannot help.
    pub(crate) async fn gave_up(&self) {
        let _ = self.gave_up.subscribe().wait_for(|gave_up| *gave_up).await;
    }

    /// SIGTERM to all at once; a process that takes too long is killed.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn supervise(
    entry: ProcfileEntry,
    settings: Settings,
    stop: CancellationToken,
    ready: watch::Receiver<bool>,
    gave_up: watch::Sender<bool>,
) {
    let mut pause = Duration::from_secs(1);
    loop {
        let started = Instant::now();
        let end = match entry.start(&settings) {
            Err(error) => format!("{error:#}"),
            Ok(mut process) => tokio::select! {
                status = process.ended() => status.map_or_else(|e| e.to_string(), |status| format!("ended ({status})")),
                () = stop.cancelled() => {
                    let _ = process.end(Signal::TERM, STOP_PATIENCE).await;
                    return;
                }
            },
        };
        if entry.name == "api" && !*ready.borrow() {
            say(&format!("api {end} before it was ready"));
            gave_up.send_replace(true);
            return;
        }
        if started.elapsed() > RECOVERED {
            pause = Duration::from_secs(1);
        }
        say(&format!("{} {end}; starting it again in {} s", entry.name, pause.as_secs()));
        tokio::select! { () = tokio::time::sleep(pause) => {}, () = stop.cancelled() => return }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
