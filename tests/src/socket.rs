//! The official Socket.IO clients: those of JavaScript in one process for all tests of a binary
//! (`clients/sockets.mjs`), because starting one costs more than most tests do; those of Python in
//! a process each (`clients/socket_client.py`).

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_sandbox::process::Process;

use serde_json::{Value, json};

use crate::SOON;
use crate::client::Client;
use crate::conformance;
use crate::lines::{Lines, Log, node};
use crate::stack::Stack;
use crate::waiting::eventually;

/// Comes after each broadcast.
const OFFSET: &str = "offset";

/// One client. Dropping it ends it.
#[derive(Debug)]
pub struct SocketClient {
    name: String,
    runs: Runs,
    log: Log,
    next_ack: AtomicU64,
}

/// Where a client runs.
#[derive(Debug)]
enum Runs {
    /// Among those of JavaScript, under this number.
    InNode(u64),
    Alone(Lines),
}

impl Stack {
    /// A connected client of `who`; `name` is for messages.
    pub async fn socket(&self, name: &str, who: &Client) -> SocketClient {
        self.socket_with(name, who, json!({})).await
    }

    /// The same with options of the official client, such as `{"transports": ["polling"]}`, another
    /// `url`, or another `client` than the newest of JavaScript: `socket.io-client-4.0`,
    /// `socket.io-client-3.1`, `python-socketio`.
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
    /// Starts a client with options of the library, `url` and perhaps `client`; the server may
    /// refuse it.
    pub async fn start(name: &str, options: &Value) -> Self {
        let (runs, log) = if options["client"] == "python-socketio" {
            let lines = Lines::python(name, "socket_client.py");
            lines.write(options).await;
            let log = lines.log().clone();
            (Runs::Alone(lines), log)
        } else {
            let (number, log) = NODE.open(options);
            (Runs::InNode(number), log)
        };
        Self { name: name.to_owned(), runs, log, next_ack: AtomicU64::new(1) }
    }

    async fn write(&self, line: Value) {
        match &self.runs {
            Runs::InNode(number) => NODE.write(*number, line),
            Runs::Alone(lines) => lines.write(&line).await,
        }
    }

    /// Emits an event with any arguments and no acknowledgement callback.
    pub async fn emit(&self, event: &str, arguments: &[Value]) {
        self.write(json!({"event": event, "args": arguments, "ack": null})).await;
    }

    /// Loses the connection of a client of JavaScript, which comes back by itself.
    pub async fn lose_connection(&self) {
        self.write(json!({"drop": true})).await;
    }

    /// Emits a command with an acknowledgement callback, and returns what the callback got.
    pub async fn call(&self, event: &str, arguments: &[Value]) -> Value {
        let ack = self.next_ack.fetch_add(1, Ordering::Relaxed);
        self.write(json!({"event": event, "args": arguments, "ack": ack})).await;
        let what = format!("{} gets its acknowledgement of {event} {arguments:?}", self.name);
        let response = eventually(&what, SOON, async || {
            let lines = self.log.of("ack");
            let found = lines.iter().find(|line| line["ack"] == ack);
            found.map(|line| line["answer"][0].clone()).ok_or_else(|| format!("{lines:?}"))
        })
        .await;
        conformance::check_acknowledgement(event, arguments, &response);
        response
    }

    /// [`SocketClient::call`] for a command that has to succeed; returns `data`.
    pub async fn call_ok(&self, event: &str, payload: Value) -> Value {
        let mut response = self.call(event, &[payload]).await;
        assert_eq!(response["success"], true, "{} called {event}: {response}", self.name);
        response["data"].take()
    }

    /// Waits for an event whose first argument is what `is_it` looks for, among those received so
    /// far and those to come.
    pub async fn wait_for(
        &self,
        event: &str,
        is_it: impl Fn(&Value) -> bool,
        deadline: Duration,
    ) -> Value {
        let what = format!("{} receives {event}", self.name);
        eventually(&what, deadline, async || {
            self.received(event)
                .into_iter()
                .find(|payload| is_it(payload))
                .ok_or_else(|| self.describe())
        })
        .await
    }

    /// [`SocketClient::wait_for`] any event of that name.
    pub async fn wait_for_any(&self, event: &str) -> Value {
        self.wait_for(event, |_| true, SOON).await
    }

    /// The first arguments of all events of that name so far.
    pub fn received(&self, event: &str) -> Vec<Value> {
        let lines = self.log.of("event");
        lines
            .into_iter()
            .filter(|line| line["event"] == event)
            .map(|mut line| line["args"][0].take())
            .collect()
    }

    /// The names of all events so far but offsets, oldest first.
    pub fn event_names(&self) -> Vec<String> {
        let events = self.log.of("event");
        let names = events.iter().filter_map(|line| line["event"].as_str());
        names.filter(|name| *name != OFFSET).map(str::to_owned).collect()
    }

    /// Waits until the client says `connect`, `disconnect` or `connect_error`; returns the newest
    /// such line.
    pub async fn wait_for_line(&self, kind: &str, deadline: Duration) -> Value {
        let what = format!("{} reports {kind}", self.name);
        eventually(&what, deadline, async || self.log.of(kind).pop().ok_or_else(|| self.describe()))
            .await
    }

    /// Whether it has connected once, and was never disconnected.
    pub fn has_stayed(&self) -> bool {
        self.log.of("connect").len() == 1 && self.log.of("disconnect").is_empty()
    }

    /// All events but offsets since the last call, as `{event, args}`, oldest first; they are
    /// forgotten.
    pub fn take(&self) -> Vec<Value> {
        let events = self.log.take("event").into_iter();
        events
            .inspect(conformance::check_event)
            .filter(|line| line["event"] != OFFSET)
            .map(|line| json!({"event": line["event"], "args": line["args"]}))
            .collect()
    }

    /// Forgets what it received so far.
    pub fn forget(&self) {
        self.check();
        self.log.forget();
    }

    /// Checks everything that it received against the document.
    fn check(&self) {
        for line in self.log.of("event") {
            conformance::check_event(&line);
        }
    }

    /// Everything so far, for messages.
    pub fn describe(&self) -> String {
        self.log.describe(&self.name)
    }
}

impl Drop for SocketClient {
    fn drop(&mut self) {
        if let Runs::InNode(number) = self.runs {
            NODE.close(number);
        }
        if !std::thread::panicking() {
            self.check();
        }
    }
}

static NODE: LazyLock<Node> = LazyLock::new(Node::start);

/// The process of all clients of JavaScript. It outlives the runtime of any single test, so threads
/// serve it.
struct Node {
    input: Mutex<ChildStdin>,
    logs: Arc<Mutex<HashMap<u64, Log>>>,
    next: AtomicU64,
    _process: Process,
}

impl Node {
    fn start() -> Self {
        let mut command = node("sockets.mjs");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::spawn(command).expect("node");
        let input = process.child().stdin.take().expect("standard input").into();
        let output = BufReader::new(process.child().stdout.take().expect("standard output"));
        let logs = Arc::<Mutex<HashMap<u64, Log>>>::default();
        let known = logs.clone();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let mut line: Value = serde_json::from_str(&line).expect("JSON");
                let number = line.as_object_mut().and_then(|line| line.remove("socket"));
                let number = number.and_then(|number| number.as_u64()).expect("a client's number");
                // Messages to a client that has been dropped may still arrive.
                if let Some(log) = locked(&known).get(&number) {
                    log.push(line);
                }
            }
        });
        Self { input, logs, next: AtomicU64::new(1), _process: process }
    }

    fn open(&self, options: &Value) -> (u64, Log) {
        let (number, log) = (self.next.fetch_add(1, Ordering::Relaxed), Log::default());
        locked(&self.logs).insert(number, log.clone());
        self.write(number, json!({ "options": options }));
        (number, log)
    }

    fn write(&self, number: u64, mut line: Value) {
        line["socket"] = json!(number);
        let written = locked(&self.input).write_all(format!("{line}\n").as_bytes());
        written.expect("node reads what its clients are to do");
    }

    fn close(&self, number: u64) {
        locked(&self.logs).remove(&number);
        // Without node no client could start, so the test that needed one has failed already.
        let _ = locked(&self.input)
            .write_all(format!("{}\n", json!({"socket": number, "close": true})).as_bytes());
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
