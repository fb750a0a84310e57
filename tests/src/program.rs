//! A Nexus process: started with a known environment and nothing else, its log in a file, ended in
//! any way a test likes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use nexus_sandbox::process::{self, Process, Signal};

use crate::waiting::eventually;

/// Processes have to end within this time after SIGTERM.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

pub type Environment = Vec<(String, String)>;

/// The path of a binary of the workspace, which has to be built already.
pub fn binary(name: &str) -> PathBuf {
    // The test executable is target/<profile>/deps/<test>.
    let own = std::env::current_exe().expect("the path of this test");
    let dir = own.parent().and_then(Path::parent).expect("a target directory");
    let path = dir.join(name);
    assert!(
        path.is_file(),
        "{} does not exist: build the workspace first (cargo build)",
        path.display()
    );
    path
}

/// A command that dies with this process and sees only `env` (and PATH), so that nothing of the
/// caller's settings leaks in.
pub fn command(program: &Path, dir: &Path, env: &Environment) -> Command {
    let mut command = process::command(program, None, "KILL");
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(env.iter().map(|(name, value)| (name, value)));
    // Away from the repository, whose `.env` it must not read.
    command.current_dir(dir).stdin(Stdio::null());
    command
}

/// One Nexus process that can be started, killed and started again.
#[derive(Debug)]
pub struct Program {
    name: String,
    binary: PathBuf,
    arguments: Vec<String>,
    env: Environment,
    dir: PathBuf,
    /// Where the newest start begins in the log.
    log_start: u64,
    process: Option<Process>,
}

impl Program {
    /// Describes a process called `name`; its log goes to `dir`.
    pub fn new(
        name: &str,
        binary_name: &str,
        arguments: &[&str],
        env: Environment,
        dir: &Path,
    ) -> Self {
        Self {
            name: name.to_owned(),
            binary: binary(binary_name),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            env,
            dir: dir.to_owned(),
            log_start: 0,
            process: None,
        }
    }

    /// Starts it, if it does not run.
    pub fn start(&mut self) {
        if self.is_running() {
            return;
        }
        let log =
            File::options().create(true).append(true).open(self.log_path()).expect("a log file");
        self.log_start = log.metadata().map_or(0, |metadata| metadata.len());
        let mut command = command(&self.binary, &self.dir, &self.env);
        command.args(&self.arguments).stdout(log.try_clone().expect("a file handle")).stderr(log);
        self.process =
            Some(Process::spawn(command).unwrap_or_else(|error| panic!("{}: {error}", self.name)));
    }

    /// Sets a variable for the next start.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// Words for the command line of the next start.
    pub fn add_arguments(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
    }

    /// `kill -9`: no handler runs, nothing is given back.
    pub async fn kill_9(&mut self) {
        let mut process =
            self.process.take().unwrap_or_else(|| panic!("{} does not run", self.name));
        assert!(process.status().is_none(), "{} had ended by itself\n{}", self.name, self.log());
        process.end(Signal::KILL, STOP_PATIENCE).await.expect("the end of a killed process");
    }

    /// [`kill_9`](Self::kill_9) for one that may have ended by itself.
    pub async fn kill_9_if_running(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.end(Signal::KILL, STOP_PATIENCE).await.expect("the end of a killed process");
        }
    }

    /// SIGTERM, and waits for the end.
    pub async fn stop(&mut self) -> ExitStatus {
        let mut process =
            self.process.take().unwrap_or_else(|| panic!("{} does not run", self.name));
        process.end(Signal::TERM, STOP_PATIENCE).await.expect("the end of a stopped process")
    }

    /// Sends it a signal and does not wait for what follows.
    pub fn signal(&mut self, signal: Signal) {
        if let Some(process) = &mut self.process {
            process.signal(signal);
        }
    }

    /// Its name in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id while it runs.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Waits until it ends by itself, and returns its exit code.
    pub async fn exit_code(&mut self) -> Option<i32> {
        let mut process =
            self.process.take().unwrap_or_else(|| panic!("{} was not started", self.name));
        let ended = tokio::time::timeout(STOP_PATIENCE, process.ended()).await;
        ended
            .unwrap_or_else(|_| panic!("{} still runs\n{}", self.name, self.log()))
            .expect("an exit status")
            .code()
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.status().is_none())
    }

    /// Waits until the log since the newest start says `text`.
    pub async fn wait_for_log(&mut self, text: &str, deadline: Duration) {
        let what = format!("{} logs {text:?}", self.name);
        eventually(&what, deadline, async || {
            let log = self.log();
            if log.contains(text) {
                return Ok(());
            }
            assert!(self.is_running(), "{} has ended before it logged {text:?}:\n{log}", self.name);
            Err(log)
        })
        .await;
    }

    /// What it has written since its newest start.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.log_path()).unwrap_or_default();
        let start = usize::try_from(self.log_start).unwrap_or(0).min(log.len());
        String::from_utf8_lossy(&log[start..]).into_owned()
    }

    /// Everything it has ever written.
    pub fn whole_log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// Everything it has ever written, under its name, for a failed test.
    pub fn print_log(&self) {
        eprintln!("----- {} -----\n{}", self.name, self.whole_log().trim_end());
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.name))
    }
}
