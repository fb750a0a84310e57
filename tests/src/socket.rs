//! The official Socket.IO client, in a Node process of its own, spoken to over JSON lines (`clients/socket.mjs`).

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nexus_sandbox::process::{self, Process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout};

use crate::SOON;
use crate::client::Client;
use crate::stack::Stack;
use crate::waiting::eventually;

/// One connected client. Dropping it kills it.
#[derive(Debug)]
pub struct SocketClient {
    name: String,
    input: tokio::sync::Mutex<ChildStdin>,
    /// Every line that the client wrote, oldest first.
    log: Arc<Mutex<Vec<Value>>>,
    next_ack: Mutex<u64>,
    _process: Process,
}

impl Stack {
    /// A connected client of `who`; `name` is for messages.
    pub async fn socket(&self, name: &str, who: &Client) -> SocketClient {
        self.socket_with(name, who, json!({})).await
    }

    /// The same with options of the official client, such as `{"transports": ["polling"]}` or another `url`.
    pub async fn socket_with(&self, name: &str, who: &Client, options: Value) -> SocketClient {
        let mut all = json!({"url": self.api_url(0)});
        if let Some(token) = &who.token {
            all["auth"] = json!({"token": token});
        }
        if let (Some(all), Value::Object(options)) = (all.as_object_mut(), options) {
            all.extend(options);
        }
        let socket = SocketClient::start(name, &all).await;
        socket.wait_for_line("connect", SOON).await;
        socket
    }
}

impl SocketClient {
    /// Starts a client with options of the library, and `url`; it may or may not get through.
    pub async fn start(name: &str, options: &Value) -> Self {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
        assert!(clients.join("node_modules").is_dir(), "run `npm ci` in {} first", clients.display());
        let mut command = process::command("node", None, "KILL");
        command.arg(clients.join("socket.mjs")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::spawn(command).expect("node");
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
        let socket = Self {
            name: name.to_owned(),
            input: ChildStdin::from_std(input).expect("a pipe").into(),
            log,
            next_ack: Mutex::new(0),
            _process: process,
        };
        socket.write(options).await;
        socket
    }

    /// Emits an event with any arguments and no acknowledgement callback.
    pub async fn emit(&self, event: &str, arguments: &[Value]) {
        self.write(&json!({"event": event, "args": arguments, "ack": null})).await;
    }

    /// Emits a command with an acknowledgement callback, and returns what the callback got.
    pub async fn call(&self, event: &str, arguments: &[Value]) -> Value {
        let ack = {
            let mut next = self.next_ack.lock().unwrap_or_else(PoisonError::into_inner);
            *next += 1;
            *next
        };
        self.write(&json!({"event": event, "args": arguments, "ack": ack})).await;
        let what = format!("{} gets its acknowledgement of {event} {arguments:?}", self.name);
        eventually(&what, SOON, async || {
            let lines = self.lines("ack");
            let found = lines.iter().find(|line| line["ack"] == ack);
            found.map(|line| line["answer"][0].clone()).ok_or_else(|| format!("{lines:?}"))
        })
        .await
    }

    /// [`SocketClient::call`] for a command that has to succeed; returns `data`.
    pub async fn call_ok(&self, event: &str, payload: Value) -> Value {
        let mut answer = self.call(event, &[payload]).await;
        assert_eq!(answer["success"], true, "{} called {event}: {answer}", self.name);
        answer["data"].take()
    }

    /// Waits for an event whose first argument is what `is_it` looks for, among those received so far and those to come.
    pub async fn wait_for(&self, event: &str, is_it: impl Fn(&Value) -> bool, deadline: Duration) -> Value {
        let what = format!("{} receives {event}", self.name);
        eventually(&what, deadline, async || {
            self.received(event).into_iter().find(|payload| is_it(payload)).ok_or_else(|| self.describe())
        })
        .await
    }

    /// [`SocketClient::wait_for`] any event of that name.
    pub async fn wait_for_any(&self, event: &str) -> Value {
        self.wait_for(event, |_| true, SOON).await
    }

    /// The first arguments of all events of that name so far.
    pub fn received(&self, event: &str) -> Vec<Value> {
        let lines = self.lines("event");
        lines
            .into_iter()
            .filter(|line| line["event"] == event)
            .map(|mut line| line["args"][0].take())
            .collect()
    }

    /// The names of all events so far, oldest first.
    pub fn event_names(&self) -> Vec<String> {
        self.lines("event").iter().filter_map(|line| line["event"].as_str().map(str::to_owned)).collect()
    }

    /// Waits until the client says `connect`, `disconnect` or `connect_error`; returns the newest such line.
    pub async fn wait_for_line(&self, kind: &str, deadline: Duration) -> Value {
        let what = format!("{} reports {kind}", self.name);
        eventually(&what, deadline, async || self.lines(kind).pop().ok_or_else(|| self.describe())).await
    }

    /// Forgets what it received so far.
    pub fn forget(&self) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Everything so far, for messages.
    pub fn describe(&self) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<String> = log.iter().map(|line| format!("  {:.300}", line.to_string())).collect();
        format!("{} received {} lines:\n{}", self.name, lines.len(), lines.join("\n"))
    }

    fn lines(&self, kind: &str) -> Vec<Value> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().filter(|line| line["type"] == kind).cloned().collect()
    }

    async fn write(&self, line: &Value) {
        let mut input = self.input.lock().await;
        let written = input.write_all(format!("{line}\n").as_bytes()).await;
        written
            .and(input.flush().await)
            .unwrap_or_else(|error| panic!("{}: {error}\n{}", self.name, self.describe()));
    }
}
