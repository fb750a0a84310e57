//! The official Socket.IO clients, each in a process of its own (`clients/socket.mjs`,
//! `clients/socket_client.py`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::SOON;
use crate::client::Client;
use crate::conformance;
use crate::lines::Lines;
use crate::stack::Stack;
use crate::waiting::eventually;

/// One connected client. Dropping it kills it.
#[derive(Debug)]
pub struct SocketClient {
    lines: Lines,
    next_ack: AtomicU64,
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
    /// Starts a client with options of the library, `url` and perhaps `client`; it may or may not
    /// get through.
    pub async fn start(name: &str, options: &Value) -> Self {
        let lines = match options["client"].as_str() {
            Some("python-socketio") => Lines::python(name, "socket_client.py"),
            _ => Lines::node(name, "socket.mjs"),
        };
        lines.write(options).await;
        Self { lines, next_ack: AtomicU64::new(1) }
    }

    /// Emits an event with any arguments and no acknowledgement callback.
    pub async fn emit(&self, event: &str, arguments: &[Value]) {
        self.lines.write(&json!({"event": event, "args": arguments, "ack": null})).await;
    }

    /// Emits a command with an acknowledgement callback, and returns what the callback got.
    pub async fn call(&self, event: &str, arguments: &[Value]) -> Value {
        let ack = self.next_ack.fetch_add(1, Ordering::Relaxed);
        self.lines.write(&json!({"event": event, "args": arguments, "ack": ack})).await;
        let what =
            format!("{} gets its acknowledgement of {event} {arguments:?}", self.lines.name());
        let answer = eventually(&what, SOON, async || {
            let lines = self.lines.of("ack");
            let found = lines.iter().find(|line| line["ack"] == ack);
            found.map(|line| line["answer"][0].clone()).ok_or_else(|| format!("{lines:?}"))
        })
        .await;
        conformance::check_acknowledgement(event, arguments, &answer);
        answer
    }

    /// [`SocketClient::call`] for a command that has to succeed; returns `data`.
    pub async fn call_ok(&self, event: &str, payload: Value) -> Value {
        let mut answer = self.call(event, &[payload]).await;
        assert_eq!(answer["success"], true, "{} called {event}: {answer}", self.lines.name());
        answer["data"].take()
    }

    /// Waits for an event whose first argument is what `is_it` looks for, among those received so
    /// far and those to come.
    pub async fn wait_for(
        &self,
        event: &str,
        is_it: impl Fn(&Value) -> bool,
        deadline: Duration,
    ) -> Value {
        let what = format!("{} receives {event}", self.lines.name());
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
        let lines = self.lines.of("event");
        lines
            .into_iter()
            .filter(|line| line["event"] == event)
            .map(|mut line| line["args"][0].take())
            .collect()
    }

    /// The names of all events so far, oldest first.
    pub fn event_names(&self) -> Vec<String> {
        self.lines
            .of("event")
            .iter()
            .filter_map(|line| line["event"].as_str().map(str::to_owned))
            .collect()
    }

    /// Waits until the client says `connect`, `disconnect` or `connect_error`; returns the newest
    /// such line.
    pub async fn wait_for_line(&self, kind: &str, deadline: Duration) -> Value {
        let what = format!("{} reports {kind}", self.lines.name());
        eventually(&what, deadline, async || {
            self.lines.of(kind).pop().ok_or_else(|| self.describe())
        })
        .await
    }

    /// All events since the last call, as `{event, args}`, oldest first; they are forgotten.
    pub fn take(&self) -> Vec<Value> {
        let events = self.lines.take("event").into_iter();
        events
            .inspect(conformance::check_event)
            .map(|line| json!({"event": line["event"], "args": line["args"]}))
            .collect()
    }

    /// Forgets what it received so far.
    pub fn forget(&self) {
        self.check();
        self.lines.forget();
    }

    /// Holds everything that it received against the document.
    fn check(&self) {
        for line in self.lines.of("event") {
            conformance::check_event(&line);
        }
    }

    /// Everything so far, for messages.
    pub fn describe(&self) -> String {
        self.lines.describe()
    }
}

impl Drop for SocketClient {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check();
        }
    }
}
