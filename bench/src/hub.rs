//! The line between the driver and the processes that it measures: JSON, one value a line, over
//! TCP. `node/hub.js` is the other end in Node.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use nexus_sandbox::process::{Process, Signal};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Names the driver's address to the processes.
pub const BENCH_HUB: &str = "BENCH_HUB";

/// What a process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Said {
    /// So many jobs have been started since the process was.
    Ran { ran: u64 },
    /// A probe's handler has started.
    Probe {
        probe: u64,
        /// Microseconds since 1970.
        at: u64,
    },
    /// An order has been carried out.
    Response {
        /// Its result.
        response: Value,
    },
}

/// Microseconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// The driver's end.
#[derive(Debug)]
pub struct Hub {
    listener: TcpListener,
    address: SocketAddr,
}

/// A process on the line. Dropping it ends the process.
#[derive(Debug)]
pub struct Peer {
    process: Process,
    said: UnboundedReceiver<Said>,
    orders: TcpStream,
}

/// A process has to report within this time.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// Every measurement takes less.
const PATIENCE: Duration = Duration::from_secs(120);

impl Hub {
    /// Listens on a port of its own.
    pub fn open() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Hub { listener, address })
    }

    /// Starts a process and waits until it has connected.
    pub async fn start(&self, mut command: Command) -> Result<Peer> {
        command.env(BENCH_HUB, self.address.to_string());
        let what = format!("{command:?}");
        let mut process = Process::spawn(command).with_context(|| what.clone())?;
        let deadline = tokio::time::Instant::now() + START_PATIENCE;
        let stream = loop {
            match self.listener.accept() {
                Ok((stream, _)) => break stream,
                Err(_) if process.status().is_some() => bail!("{what} has ended"),
                Err(_) if tokio::time::Instant::now() > deadline => bail!("{what} does not report"),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        let orders = stream.try_clone()?;
        let (sender, said) = unbounded_channel();
        // A thread, so that what is said is heard while the driver's own tasks are busy.
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let Ok(said) = serde_json::from_str(&line) else { continue };
                if sender.send(said).is_err() {
                    break;
                }
            }
        });
        Ok(Peer { process, said, orders })
    }
}

impl Peer {
    /// The next thing it says.
    pub async fn listen(&mut self) -> Result<Said> {
        let said = tokio::time::timeout(PATIENCE, self.said.recv())
            .await
            .context("a process is silent")?;
        said.context("a process has ended")
    }

    /// What it has said and the driver has not read yet.
    pub fn overhear(&mut self) -> Option<Said> {
        self.said.try_recv().ok()
    }

    /// Gives an order and waits for the response.
    pub async fn order(&mut self, order: Value) -> Result<Value> {
        writeln!(self.orders, "{order}")?;
        loop {
            if let Said::Response { response } = self.listen().await? {
                return Ok(response);
            }
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// SIGTERM, and waits for the end.
    pub async fn stop(mut self) -> Result<()> {
        self.process.end(Signal::TERM, Duration::from_secs(15)).await?;
        Ok(())
    }
}

/// A process's end.
#[derive(Debug)]
pub struct Voice(TcpStream);

impl Voice {
    /// Connects to the driver.
    pub fn call(hub: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(hub)?;
        stream.set_nodelay(true)?;
        Ok(Voice(stream))
    }

    /// Where the driver's orders can be read.
    pub fn line(&self) -> std::io::Result<TcpStream> {
        self.0.try_clone()
    }

    /// A second writer for another thread.
    pub fn another(&self) -> std::io::Result<Self> {
        self.0.try_clone().map(Voice)
    }

    /// Sends a value in one write, so that writers do not mix.
    pub fn say(&mut self, said: &Said) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(said)?;
        line.push(b'\n');
        self.0.write_all(&line)
    }
}
