//! Tens of thousands of Socket.IO clients in one thread: `nexus-bench-crowd`, which does what the
//! driver orders. A client is a socket and some two hundred bytes, an event costs it one read, and
//! no runtime is in between, so that the server is what is measured.
//!
//! - [`orders`] – what the driver may ask
//! - [`client`], [`wire`] – one client, and what it says and hears
//! - [`ears`] – what all have heard
//! - [`absences`] – who has lost its connection
//! - [`server`], [`plain`] – what they connect to, and a server that does nothing but write
//! - [`measures`], [`rows`] – what is measured, and how the report shows it

pub mod absences;
pub mod client;
pub mod ears;
pub mod measures;
pub mod orders;
pub mod plain;
pub mod rows;
pub mod server;
pub mod wire;

use std::{
    io::{BufRead, BufReader, ErrorKind},
    mem,
    net::TcpStream,
    rc::Rc,
    sync::mpsc::{Receiver, TryRecvError, channel},
    time::{Duration, Instant},
};

use anyhow::{Context, Error, Result};
use mio::{Events, Interest, Poll, Token, Waker};
use serde_json::{Value, json};

use self::{
    absences::Absences,
    client::{BUFFER, Client, Step},
    ears::Ears,
    orders::{Connect, Order},
    wire::Plan,
};
use crate::hub::{Said, Voice};

/// Says that there is an order; the other tokens are the numbers of clients.
const ORDERS: Token = Token(usize::MAX);
/// When nobody has arrived for so long, those who are on their way have failed.
const PATIENCE: Duration = Duration::from_secs(15);

/// All clients of a process, and the order that it is carrying out.
struct Crowd {
    poll: Poll,
    buffer: Box<[u8]>,
    /// By number. Who has gone leaves a gap that nobody takes, so that no late event reaches another
    /// client.
    clients: Vec<Option<Client>>,
    ears: Ears,
    absences: Absences,
    task: Task,
}

/// The order that has not been answered yet.
enum Task {
    None,
    Connect(Arrivals),
    Expect { clients: usize, until: Instant },
    Exchange { until: Instant },
}

/// Clients on their way.
struct Arrivals {
    plan: Rc<Plan>,
    at_once: usize,
    /// How many have not set out.
    left: usize,
    under_way: usize,
    connected: usize,
    failed: usize,
    /// The first of them.
    why: Option<String>,
    begun: Instant,
    /// When the last one arrived.
    last: Instant,
}

/// Carries out orders until the line to the driver ends.
pub fn run(hub: &str) -> Result<()> {
    let poll = Poll::new()?;
    let mut voice = Voice::call(hub)?;
    let orders = listen(voice.line()?, Waker::new(poll.registry(), ORDERS)?);
    let mut crowd = Crowd {
        poll,
        buffer: vec![0; BUFFER].into(),
        clients: Vec::new(),
        ears: Ears::default(),
        absences: Absences::default(),
        task: Task::None,
    };
    let mut events = Events::with_capacity(4096);
    loop {
        crowd.wait(&mut events)?;
        let response = match orders.try_recv() {
            Ok(order) => crowd.carry_out(serde_json::from_str(&order).context(order)?)?,
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => return Ok(()),
        };
        if let Some(response) = response.or_else(|| crowd.finish()) {
            voice.say(&Said::Response { response })?;
        }
    }
}

/// Hands over the driver's lines, and wakes the crowd for each.
fn listen(line: TcpStream, waker: Waker) -> Receiver<String> {
    let (sender, orders) = channel();
    std::thread::spawn(move || {
        for order in BufReader::new(line).lines().map_while(Result::ok) {
            if sender.send(order).is_err() || waker.wake().is_err() {
                return;
            }
        }
        drop(sender);
        let _ = waker.wake();
    });
    orders
}

/// Clients that are there and read.
fn connected(
    clients: &mut [Option<Client>],
) -> impl DoubleEndedIterator<Item = &mut Option<Client>> {
    let is_connected = |client: &Client| client.step == Step::Connected;
    clients.iter_mut().filter(move |client| client.as_ref().is_some_and(is_connected))
}

impl Crowd {
    /// Waits for what happens next, and lets it happen.
    fn wait(&mut self, events: &mut Events) -> Result<()> {
        let now = Instant::now();
        let next = [self.task.deadline(), self.absences.next()].into_iter().flatten().min();
        let timeout = next.map(|next| next.saturating_duration_since(now));
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        for event in events.iter().filter(|event| event.token() != ORDERS) {
            self.attend(event.token().0, event.is_read_closed() || event.is_error());
        }
        while let Some((number, plan, tries)) = self.absences.due() {
            self.dial(number, &plan, tries);
        }
        Ok(())
    }

    /// Something has happened to a client, perhaps that the server `is_done` with it.
    fn attend(&mut self, number: usize, is_done: bool) {
        let Some(client) = self.clients.get_mut(number).and_then(Option::as_mut) else { return };
        let was_there = client.step >= Step::Connected;
        let attended = match client.step {
            Step::Dialling => client.begin(),
            _ => client.receive(&mut self.buffer, is_done, &mut self.ears),
        };
        if !was_there && client.step == Step::Connected {
            self.arrived(number);
        }
        if let Err(error) = attended {
            self.gone(number, &error);
        }
    }

    fn arrived(&mut self, number: usize) {
        if !self.absences.end(number)
            && let Task::Connect(arrivals) = &mut self.task
        {
            arrivals.under_way -= 1;
            arrivals.connected += 1;
            arrivals.last = Instant::now();
            self.set_out();
        }
    }

    /// A client has lost its connection, or got none.
    fn gone(&mut self, number: usize, error: &Error) {
        let Some(client) = self.clients[number].take() else { return };
        if client.step >= Step::Connected || self.absences.has(number) {
            match client.step {
                Step::Dismissed => self.absences.lose(),
                _ => self.absences.begin(number, &client.plan),
            }
        } else if let Task::Connect(arrivals) = &mut self.task {
            arrivals.fail(error);
            self.set_out();
        }
    }

    /// Lets as many clients set out as may be on their way.
    fn set_out(&mut self) {
        while let Task::Connect(arrivals) = &mut self.task
            && arrivals.left > 0
            && arrivals.under_way < arrivals.at_once
        {
            arrivals.left -= 1;
            arrivals.under_way += 1;
            let plan = arrivals.plan.clone();
            self.clients.push(None);
            self.dial(self.clients.len() - 1, &plan, 0);
        }
    }

    fn dial(&mut self, number: usize, plan: &Rc<Plan>, tries: i32) {
        let dialled = Client::dial(plan.clone(), number, tries).and_then(|mut client| {
            // Both from the beginning: that it can write is told once, and never changes again.
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut client.stream, Token(number), interest)?;
            Ok(client)
        });
        match (dialled, &mut self.task) {
            (Ok(client), _) => self.clients[number] = Some(client),
            (Err(_), _) if self.absences.has(number) => self.absences.begin(number, plan),
            (Err(error), Task::Connect(arrivals)) => arrivals.fail(&error),
            (Err(_), _) => {}
        }
    }

    /// Begins to carry out an order; returns the response if there is nothing to wait for.
    fn carry_out(&mut self, order: Order) -> Result<Option<Value>> {
        let now = Instant::now();
        Ok(match order {
            Order::Connect(order) => {
                self.task = Task::Connect(Arrivals::new(&order));
                self.set_out();
                None
            }
            Order::Arm { event, contains } => {
                self.ears.arm(event, contains);
                Some(Value::Null)
            }
            Order::Expect { clients, patience } => {
                let patience = Duration::from_secs_f64(patience.unwrap_or(30.0));
                self.task = Task::Expect { clients, until: now + patience };
                None
            }
            Order::Counts => Some(self.ears.counts()),
            Order::Exchange { clients, packet, response, seconds } => {
                let time = Duration::from_secs_f64(seconds);
                self.ears.begin_exchange(packet.as_str().into(), response, time);
                for client in connected(&mut self.clients).flatten().take(clients) {
                    client.ask_with(&packet)?;
                }
                self.task = Task::Exchange { until: now + time };
                None
            }
            Order::Stall { count } => {
                let mut stalled = 0;
                for client in connected(&mut self.clients).flatten().take(count) {
                    self.poll.registry().deregister(&mut client.stream)?;
                    client.stall()?;
                    stalled += 1;
                }
                Some(stalled.into())
            }
            Order::Close { count } => {
                // The youngest leave first.
                let leaving = connected(&mut self.clients).rev().take(count.unwrap_or(usize::MAX));
                Some(leaving.filter_map(Option::take).map(Client::leave).count().into())
            }
            Order::Reconnecting { on } => {
                self.absences = Absences::new(on);
                Some(self.status())
            }
            Order::Status => Some(self.status()),
        })
    }

    fn status(&mut self) -> Value {
        self.absences.status(connected(&mut self.clients).count())
    }

    /// The response to the order, once it has been carried out.
    fn finish(&mut self) -> Option<Value> {
        let is_over = self.task.deadline()? <= Instant::now();
        let response = match &mut self.task {
            Task::None => return None,
            Task::Connect(arrivals) if arrivals.under_way + arrivals.left == 0 || is_over => {
                arrivals.failed += arrivals.under_way + arrivals.left;
                arrivals.result()
            }
            Task::Expect { clients, .. } if self.ears.heard() >= *clients || is_over => {
                self.ears.hearing()
            }
            Task::Exchange { .. } if is_over => self.ears.end_exchange(),
            _ => return None,
        };
        if let Task::Connect(_) = mem::replace(&mut self.task, Task::None) {
            let is_late = |client: &Client| client.step < Step::Connected;
            for (number, client) in self.clients.iter_mut().enumerate() {
                if client.as_ref().is_some_and(is_late) && !self.absences.has(number) {
                    *client = None;
                }
            }
        }
        Some(response)
    }
}

impl Task {
    fn deadline(&self) -> Option<Instant> {
        match self {
            Task::None => None,
            Task::Connect(arrivals) => Some(arrivals.last + PATIENCE),
            Task::Expect { until, .. } | Task::Exchange { until } => Some(*until),
        }
    }
}

impl Arrivals {
    fn new(order: &Connect) -> Self {
        let now = Instant::now();
        Arrivals {
            plan: Rc::new(Plan::new(order)),
            at_once: order.at_once.max(1),
            left: order.count,
            under_way: 0,
            connected: 0,
            failed: 0,
            why: None,
            begun: now,
            last: now,
        }
    }

    fn fail(&mut self, error: &Error) {
        self.under_way -= 1;
        self.failed += 1;
        self.why.get_or_insert_with(|| format!("{error:#}"));
    }

    fn result(&self) -> Value {
        let seconds = (self.last - self.begun).as_secs_f64().max(1e-6);
        json!({
            "connected": self.connected,
            "failed": self.failed,
            "why": self.why,
            "seconds": seconds,
            "rate": self.connected as f64 / seconds,
        })
    }
}
