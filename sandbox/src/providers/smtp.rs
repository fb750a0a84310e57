//! A mail server that accepts everything but senders at `.invalid` domains: enough of SMTP for any
//! client, no TLS, no relaying.
//!
//! A message counts when its final dot was received. One scripted fault is used up per message, at
//! that dot.

use std::io;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::Utc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;

use super::calls::Call;
use super::mail::{self, Mail};
use super::provider_state::ProviderState;
use super::recent;
use super::server::Serve;
use super::target::Target;

const MAX_LINE: u64 = 8 * 1024;
const MAX_MESSAGE: usize = 25 * 1024 * 1024;
const MAX_RECIPIENTS: usize = 1_000;

/// Serves one connection after the other with the same mailbox.
pub(crate) fn service(state: Arc<ProviderState>) -> Serve {
    Arc::new(move |stream| {
        let session = Session {
            state: state.clone(),
            stream: BufStream::new(stream),
            from: None,
            to: Vec::new(),
        };
        Box::pin(async move {
            let _ = session.run().await;
        })
    })
}

struct Session {
    state: Arc<ProviderState>,
    stream: BufStream<TcpStream>,
    from: Option<String>,
    to: Vec<String>,
}

impl Session {
    async fn run(mut self) -> io::Result<()> {
        self.reply("220 sandbox ESMTP").await?;
        loop {
            let line = self.line().await?;
            let line = String::from_utf8_lossy(&line);
            let (verb, argument) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" => {
                    let size = format!("250-SIZE {MAX_MESSAGE}");
                    let extensions =
                        ["250-sandbox", "250-PIPELINING", "250-8BITMIME", "250-SMTPUTF8", &size];
                    self.reply(&extensions.join("\r\n")).await?;
                    self.reply("250 AUTH PLAIN LOGIN").await?;
                    self.reset();
                }
                "HELO" => {
                    self.reset();
                    self.reply("250 sandbox").await?;
                }
                "AUTH" => self.authenticate(argument).await?,
                "MAIL" => self.mail(argument).await?,
                "RCPT" => self.rcpt(argument).await?,
                "DATA" if self.to.is_empty() => self.reply("503 5.5.1 MAIL and RCPT first").await?,
                "DATA" => self.data().await?,
                "RSET" => {
                    self.reset();
                    self.reply("250 2.0.0 Ok").await?;
                }
                "NOOP" => self.reply("250 2.0.0 Ok").await?,
                "VRFY" => self.reply("252 2.5.0 Try to send").await?,
                "QUIT" => return self.reply("221 2.0.0 Bye").await,
                _ => self.reply("502 5.5.2 Command not recognised").await?,
            }
        }
    }

    /// Any name and password will do.
    async fn authenticate(&mut self, argument: &str) -> io::Result<()> {
        let (mechanism, initial) = argument.split_once(' ').unwrap_or((argument, ""));
        let prompts: &[&str] = match (mechanism.to_ascii_uppercase().as_str(), initial.is_empty()) {
            ("PLAIN", false) => &[],
            ("PLAIN", true) => &[""],
            ("LOGIN", false) => &["Password:"],
            ("LOGIN", true) => &["Username:", "Password:"],
            _ => return self.reply("504 5.5.4 PLAIN or LOGIN").await,
        };
        for prompt in prompts {
            self.reply(&format!("334 {}", BASE64_STANDARD.encode(prompt))).await?;
            if self.line().await?.trim_ascii() == b"*" {
                return self.reply("501 5.7.0 Cancelled").await;
            }
        }
        self.reply("235 2.7.0 Accepted").await
    }

    async fn mail(&mut self, argument: &str) -> io::Result<()> {
        let Some(from) = path(argument, "FROM:") else {
            return self.reply("501 5.5.4 MAIL FROM:<address>").await;
        };
        let announced =
            argument.split_whitespace().find_map(|word| word.strip_prefix("SIZE=")?.parse().ok());
        if announced.is_some_and(|size: usize| size > MAX_MESSAGE) {
            return self.reply("552 5.3.4 Message too big").await;
        }
        self.reset();
        if from.ends_with(".invalid") {
            return self
                .reply(&format!("550 5.1.8 <{from}>: Sender address rejected: Domain not found"))
                .await;
        }
        self.from = Some(from);
        self.reply("250 2.1.0 Ok").await
    }

    async fn rcpt(&mut self, argument: &str) -> io::Result<()> {
        if self.from.is_none() {
            return self.reply("503 5.5.1 MAIL first").await;
        }
        match path(argument, "TO:") {
            Some(to) if !to.contains('@') => self.reply("550 5.1.3 Bad address").await,
            Some(_) if self.to.len() == MAX_RECIPIENTS => {
                self.reply("452 4.5.3 Too many recipients").await
            }
            Some(to) => {
                self.to.push(to);
                self.reply("250 2.1.5 Ok").await
            }
            None => self.reply("501 5.5.4 RCPT TO:<address>").await,
        }
    }

    async fn data(&mut self) -> io::Result<()> {
        self.reply("354 End data with <CR><LF>.<CR><LF>").await?;
        let mut message = Vec::new();
        let mut fits = true;
        loop {
            let line = self.line().await?;
            if line == b".\r\n" || line == b".\n" {
                break;
            }
            // A line that begins with a dot was given a second one by the client.
            let line = line.strip_prefix(b".").unwrap_or(&line);
            fits = fits && message.len() + line.len() <= MAX_MESSAGE;
            if fits {
                message.extend_from_slice(line);
            }
        }
        let (from, to) = (self.from.take().unwrap_or_default(), std::mem::take(&mut self.to));
        if !fits {
            return self.reply("552 5.3.4 Message too big").await;
        }

        let fault = self.state.faults.take(Target::Smtp, "");
        let path = to.join(",");
        fault.wait_before().await;
        if fault.drop {
            self.record(path, None);
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if let Some(status) = fault.status {
            // As real servers do, it repeats the address.
            let answer = format!("{status} {path}: scripted failure");
            self.record(path, Some(status));
            return self.reply(&answer).await;
        }
        let mail = Mail::parse(from, to, &message);
        let answer = format!("250 2.0.0 Ok: queued as {}", mail.id);
        recent::push(&mut self.state.mailbox(), mail::LIMIT, mail);
        self.record(path, (!fault.drop_after).then_some(250));
        fault.wait_after().await;
        if fault.drop_after {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        self.reply(&answer).await
    }

    fn record(&self, path: String, status: Option<u16>) {
        let (at, target, method) = (Utc::now(), Target::Smtp, "DATA".to_owned());
        self.state.calls.record(Call { at, target, method, path, status });
    }

    fn reset(&mut self) {
        self.from = None;
        self.to.clear();
    }

    /// One line with its end; an endless one or the end of the connection is an error.
    async fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        (&mut self.stream).take(MAX_LINE).read_until(b'\n', &mut line).await?;
        if line.ends_with(b"\n") { Ok(line) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    async fn reply(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(text.as_bytes()).await?;
        self.stream.write_all(b"\r\n").await?;
        self.stream.flush().await
    }
}

/// The address in `FROM:<address>` or `TO:<address>`; the empty sender of bounces is one.
fn path(argument: &str, keyword: &str) -> Option<String> {
    let rest = argument.get(keyword.len()..)?;
    argument.get(..keyword.len()).filter(|found| found.eq_ignore_ascii_case(keyword))?;
    let (address, _) = rest.trim_start().strip_prefix('<')?.split_once('>')?;
    Some(address.to_owned())
}
