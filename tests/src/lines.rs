//! Programs in other languages (`tests/clients`), spoken to in JSON: one value a line on standard
//! input and output.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nexus_sandbox::process::{self, Process, Signal};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout};

/// What a program has written, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Vec<Value>>>);

impl Log {
    /// One more line.
    pub fn push(&self, line: Value) {
        self.with(|lines| lines.push(line));
    }

    /// Those of one `type`.
    pub fn of(&self, kind: &str) -> Vec<Value> {
        self.with(|lines| lines.iter().filter(|line| line["type"] == kind).cloned().collect())
    }

    /// Takes those of one `type` out of the log.
    pub fn take(&self, kind: &str) -> Vec<Value> {
        self.with(|lines| lines.extract_if(.., |line| line["type"] == kind).collect())
    }

    pub fn forget(&self) {
        self.with(Vec::clear);
    }

    /// Everything that `name` has written, for messages.
    pub fn describe(&self, name: &str) -> String {
        let short = |line: &Value| format!("  {:.300}", line.to_string());
        let lines: Vec<String> = self.with(|lines| lines.iter().map(short).collect());
        format!("{name} received {} lines:\n{}", lines.len(), lines.join("\n"))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Vec<Value>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Lines {
    name: String,
    input: tokio::sync::Mutex<ChildStdin>,
    log: Log,
    process: Process,
}

impl Lines {
    /// Starts a JavaScript program.
    pub fn node(name: &str, script: &str) -> Self {
        Self::spawn(name, node(script))
    }

    /// Starts a Python program.
    pub fn python(name: &str, script: &str) -> Self {
        let python = clients().join(".venv/bin/python");
        Self::spawn(name, command(&python, ".venv", "make python-deps", script))
    }

    fn spawn(name: &str, mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::spawn(command).unwrap_or_else(|error| panic!("{name}: {error}"));
        let input = process.child().stdin.take().expect("standard input");
        let output = process.child().stdout.take().expect("standard output");
        let output = ChildStdout::from_std(output).expect("a pipe");

        let log = Log::default();
        let received = log.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                received.push(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        let input = ChildStdin::from_std(input).expect("a pipe").into();
        Self { name: name.to_owned(), input, log, process }
    }

    /// Writes a line.
    pub async fn write(&self, line: &Value) {
        let mut input = self.input.lock().await;
        let written = input.write_all(format!("{line}\n").as_bytes()).await;
        written
            .and(input.flush().await)
            .unwrap_or_else(|error| panic!("{}: {error}\n{}", self.name, self.describe()));
    }

    /// What the program has written so far.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Everything so far, for messages.
    pub fn describe(&self) -> String {
        self.log.describe(&self.name)
    }

    /// Lets the program end in good order.
    pub fn end(&mut self, patience: Duration) {
        self.process.end_blocking(Signal::TERM, patience);
    }
}

/// Runs a JavaScript program.
pub fn node(script: &str) -> Command {
    command(Path::new("node"), "node_modules", "make node-deps", script)
}

fn command(interpreter: &Path, packages: &str, install: &str, script: &str) -> Command {
    let found = clients().join(packages).is_dir();
    assert!(found, "tests/clients/{packages} is missing: run `{install}`");
    let mut command = process::command(interpreter, None, "KILL");
    command.arg(clients().join(script));
    command
}

/// `tests/clients`
fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}
