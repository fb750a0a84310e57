//! One client: a socket, and how far it has come.

use std::{
    io::{self, ErrorKind, Read, Write},
    mem,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
};

use anyhow::{Result, bail, ensure};
use mio::net::TcpStream;
use socket2::{Domain, SockRef, Socket, Type};

use super::{
    ears::{Ears, Memory},
    orders::Transport,
    wire::{self, Kind, Plan, SEPARATOR},
};
use crate::hub::now;

/// A client, in some two hundred bytes and the kernel's socket.
#[derive(Debug)]
pub struct Client {
    pub stream: TcpStream,
    pub plan: Rc<Plan>,
    pub step: Step,
    pub memory: Memory,
    /// The beginning of what has not been received as a whole yet.
    rest: Vec<u8>,
    polling: Option<Box<Polling>>,
}

/// How far a client has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// TCP is not connected yet.
    Dialling,
    /// A websocket has been asked for.
    Upgrading,
    /// Engine.IO has to open the session, and Socket.IO to connect it.
    Opening,
    /// An event is to be joined.
    Joining,
    Connected,
    /// It reads nothing any more.
    Stalled,
    /// The server wants it no more, so that it does not come back.
    Dismissed,
}

/// A session without a websocket. The next request is made when the last one has its response: who
/// only listens has nothing to say in between.
#[derive(Debug, Default)]
struct Polling {
    session: String,
    unsent: Vec<String>,
}

/// Everything that arrives at once fits in.
pub const BUFFER: usize = 256 * 1024;
/// The addresses from which clients come, each with some 28,000 ports of its own.
const ADDRESSES: usize = 250;
/// Linux's number for a connection that is being made.
const EINPROGRESS: i32 = 115;

impl Client {
    /// Begins to connect, from the address of its number, when it has tried so often to come back.
    pub fn dial(plan: Rc<Plan>, number: usize, tries: i32) -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        let source = Ipv4Addr::new(127, 0, 0, 2 + (number % ADDRESSES) as u8);
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        match socket.connect(&plan.server(tries).into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(EINPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let stream = TcpStream::from_std(socket.into());
        let polling = (plan.transport == Transport::Polling).then(Box::default);
        let (step, memory, rest) = (Step::Dialling, Memory::default(), Vec::new());
        Ok(Client { stream, plan, step, memory, rest, polling })
    }

    /// Asks for a session, once TCP is connected.
    pub fn begin(&mut self) -> Result<()> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error.into());
        }
        if self.stream.peer_addr().is_err() {
            return Ok(());
        }
        match &mut self.polling {
            Some(_) => {
                self.step = Step::Opening;
                self.ask()
            }
            None => {
                self.step = Step::Upgrading;
                let upgrade = self.plan.upgrade();
                self.write(upgrade.as_bytes())
            }
        }
    }

    /// Reads what there is. A short read means that there is no more, unless the server `is_done`.
    pub fn receive(&mut self, buffer: &mut [u8], is_done: bool, ears: &mut Ears) -> Result<()> {
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) => bail!("the server has closed it"),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            self.hear(&buffer[..count], ears)?;
            if count < buffer.len() && !is_done {
                return Ok(());
            }
        }
    }

    fn hear(&mut self, bytes: &[u8], ears: &mut Ears) -> Result<()> {
        if self.rest.is_empty() {
            let used = self.understand(bytes, ears)?;
            self.rest.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut all = mem::take(&mut self.rest);
        all.extend_from_slice(bytes);
        let used = self.understand(&all, ears)?;
        // Not `drain`: a client that waits for nothing holds no memory.
        self.rest = all[used..].to_vec();
        Ok(())
    }

    /// Takes what is whole, and says how many bytes these are.
    fn understand(&mut self, bytes: &[u8], ears: &mut Ears) -> Result<usize> {
        if self.polling.is_some() {
            return self.understand_response(bytes, ears);
        }
        let mut used = 0;
        if self.step == Step::Upgrading {
            let Some((status, end)) = wire::head(bytes)? else { return Ok(0) };
            ensure!(status == 101, "{}", String::from_utf8_lossy(bytes));
            self.step = Step::Opening;
            used = end;
        }
        while let Some((kind, payload)) = wire::first_frame(&bytes[used..]) {
            let frame = &bytes[used..];
            used += payload.end;
            match kind {
                Kind::Text => self.packet(&frame[payload], ears)?,
                Kind::Ping => self.write(&wire::frame(Kind::Ping, &frame[payload]))?,
                Kind::Close => bail!("the server has said goodbye"),
                Kind::Other => bail!("a frame that no packet needs"),
            }
        }
        Ok(used)
    }

    fn understand_response(&mut self, bytes: &[u8], ears: &mut Ears) -> Result<usize> {
        let Some(body) = wire::body(bytes)? else { return Ok(0) };
        let end = body.end;
        if &bytes[body.clone()] != b"ok" {
            for packet in bytes[body].split(|byte| *byte == SEPARATOR) {
                self.packet(packet, ears)?;
            }
        }
        self.ask()?;
        Ok(end)
    }

    fn packet(&mut self, packet: &[u8], ears: &mut Ears) -> Result<()> {
        match packet {
            [b'0', session @ ..] => {
                if let Some(polling) = &mut self.polling {
                    let session: serde_json::Value = serde_json::from_slice(session)?;
                    polling.session = session["sid"].as_str().unwrap_or_default().to_owned();
                }
                let plan = self.plan.clone();
                self.send(&plan.connect)
            }
            b"2" => self.send("3"),
            [b'4', b'0', ..] => {
                let plan = self.plan.clone();
                self.step = if plan.join.is_some() { Step::Joining } else { Step::Connected };
                plan.join.as_ref().map_or(Ok(()), |join| self.send(join))
            }
            [b'4', b'2', ..] => {
                if self.step == Step::Joining && wire::event(packet) == Some("join_event_response")
                {
                    self.step = Step::Connected;
                }
                ears.hear(packet, &mut self.memory).map_or(Ok(()), |again| self.ask_with(&again))
            }
            [b'4', b'1' | b'4', ..] => {
                self.step = Step::Dismissed;
                bail!("dismissed: {}", String::from_utf8_lossy(packet))
            }
            _ => Ok(()),
        }
    }

    /// Sends a packet, over a websocket at once.
    pub fn send(&mut self, packet: &str) -> Result<()> {
        match &mut self.polling {
            Some(polling) => {
                polling.unsent.push(packet.to_owned());
                Ok(())
            }
            None => self.write(&wire::frame(Kind::Text, packet.as_bytes())),
        }
    }

    /// The next request of a session without a websocket.
    fn ask(&mut self) -> Result<()> {
        let Some(polling) = &mut self.polling else { return Ok(()) };
        let Polling { session, unsent } = &mut **polling;
        let request = match &mem::take(unsent)[..] {
            [] => self.plan.poll((!session.is_empty()).then_some(session)),
            packets => {
                let packets = packets.join(&char::from(SEPARATOR).to_string());
                self.plan.post(session, &packets)
            }
        };
        self.write(request.as_bytes())
    }

    /// What clients send is small, so that it fits in the kernel's buffer.
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let count = self.stream.write(bytes)?;
        ensure!(count == bytes.len(), "the server does not read");
        Ok(())
    }

    /// Says goodbye as a page does that is left.
    pub fn leave(mut self) {
        if self.polling.is_none() && self.step > Step::Upgrading {
            let _ = self.write(&wire::frame(Kind::Close, &1001_u16.to_be_bytes()));
        }
    }

    /// Reads nothing any more, and lets the kernel take as little as it may.
    pub fn stall(&mut self) -> io::Result<()> {
        self.step = Step::Stalled;
        SockRef::from(&self.stream).set_recv_buffer_size(1)
    }

    /// Sends the packet of an exchange.
    pub fn ask_with(&mut self, packet: &str) -> Result<()> {
        self.memory.asked = Some(now());
        self.send(packet)
    }
}
