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

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Lines {
    name: String,
    input: tokio::sync::Mutex<ChildStdin>,
    /// Every line that the program wrote, oldest first.
    log: Arc<Mutex<Vec<Value>>>,
    process: Process,
}

impl Lines {
    /// Starts a JavaScript program.
    pub fn node(name: &str, script: &str) -> Self {
        Self::start(name, Path::new("node"), "node_modules", "make node-deps", script)
    }

    /// Starts a Python program.
    pub fn python(name: &str, script: &str) -> Self {
        Self::start(name, &clients().join(".venv/bin/python"), ".venv", "make python-deps", script)
    }

    fn start(name: &str, interpreter: &Path, packages: &str, install: &str, script: &str) -> Self {
        assert!(
            clients().join(packages).is_dir(),
            "tests/clients/{packages} is missing: run `{install}`"
        );
        let mut command = process::command(interpreter, None, "KILL");
        command.arg(clients().join(script));
        Self::spawn(name, command)
    }

    fn spawn(name: &str, mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::spawn(command).unwrap_or_else(|error| panic!("{name}: {error}"));
        let input = process.child().stdin.take().expect("standard input");
        let output = process.child().stdout.take().expect("standard output");
        let output = ChildStdout::from_std(output).expect("a pipe");

        let log = Arc::new(Mutex::new(Vec::new()));
        let received = log.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                received.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let input = ChildStdin::from_std(input).expect("a pipe").into();
        Self { name: name.to_owned(), input, log, process }
    }

    /// For messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes a line.
    pub async fn write(&self, line: &Value) {
        let mut input = self.input.lock().await;
        let written = input.write_all(format!("{line}\n").as_bytes()).await;
        written
            .and(input.flush().await)
            .unwrap_or_else(|error| panic!("{}: {error}\n{}", self.name, self.describe()));
    }

    /// What the program has written so far, of one `type`.
    pub fn of(&self, kind: &str) -> Vec<Value> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().filter(|line| line["type"] == kind).cloned().collect()
    }

    /// The same, which is then forgotten.
    pub fn take(&self, kind: &str) -> Vec<Value> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.extract_if(.., |line| line["type"] == kind).collect()
    }

    /// Forgets everything.
    pub fn forget(&self) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Everything so far, for messages.
    pub fn describe(&self) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<String> =
            log.iter().map(|line| format!("  {:.300}", line.to_string())).collect();
        format!("{} received {} lines:\n{}", self.name, lines.len(), lines.join("\n"))
    }

    /// Lets the program end in good order.
    pub fn end(&mut self, patience: Duration) {
        self.process.end_blocking(Signal::TERM, patience);
    }
}

/// `tests/clients`
fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}
