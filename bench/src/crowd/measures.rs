//! What crowds see of a server.

use std::{
    cell::Cell,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::try_join_all;
use nexus_sandbox::process::Signal;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{sleep, sleep_until, timeout};

use super::{
    plain::PLAIN_SOCKETS,
    rows::{Findings, KERNEL, Of, Row},
    server::Server,
};
use crate::{
    cpu::Cpu,
    hub::{Hub, Peer, now},
    release::Release,
    samples::percentile,
    servers::Servers,
    shop::{
        http::Connection,
        load::{connections, for_so_long, milliseconds},
        seller::Seller,
        sockets::Socket,
    },
};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Clients of a large crowd.
    pub many: usize,
    /// The largest crowds, each with its number of processes.
    pub most: &'static [(usize, usize)],
    /// Locks, of which the median counts.
    pub locks: usize,
    /// How long loads last.
    pub time: Duration,
    /// After which memory is what it will be: Nexus gives back what it has not used for 5 s.
    pub quiet: Duration,
}

impl Scale {
    /// All of it.
    pub const FULL: Scale = Scale {
        many: 10_000,
        // With less than the 20,000 files that a process may have open at once.
        most: &[(19_000, 1), (50_000, 3)],
        locks: 9,
        time: Duration::from_secs(5),
        quiet: Duration::from_secs(12),
    };
    /// Enough to see that something has become much worse.
    pub const QUICK: Scale = Scale {
        many: 2_000,
        most: &[],
        locks: 3,
        time: Duration::from_secs(1),
        quiet: Duration::from_secs(6),
    };
}

/// Clients of a small crowd, and those that poll.
const FEW: usize = 1_000;
/// Clients that send commands.
const COMMANDING: usize = 100;
/// Clients that may be on their way at the same time.
const AT_ONCE: usize = 100;
/// Between two locks, so that the counts that follow the first have gone, too.
const PAUSE: Duration = Duration::from_millis(400);
/// Nobody waits longer for the response to a command.
const PATIENCE: Duration = Duration::from_secs(10);
/// Clients whose commands are waited for meanwhile.
const COMMANDED: usize = 8;
/// Connections over which seats are changed.
const CHANGING: usize = 64;
/// More changes a second than any server makes, so that each connection makes one after the other.
const UNREACHABLE: u32 = 10_000;
/// What the kernel writes in place of a lock: as much as Nexus tells of one.
const PADDING: usize = 300;
/// How many of them, one after the other, show what clients can take.
const BROADCASTS: usize = 20;

/// The response to `connect`.
#[derive(Deserialize)]
struct Connected {
    connected: usize,
    why: Option<String>,
    rate: f64,
}

/// The response to `expect`.
#[derive(Deserialize)]
struct Heard {
    clients: usize,
    last: Option<u64>,
}

/// Seats that have been changed.
struct Changed {
    /// As long as new changes were begun.
    in_time: usize,
    /// Until the last of them was over.
    in_all: usize,
    /// Until then.
    seconds: f64,
}

/// Frames that have arrived.
struct Counted {
    all: f64,
    locks: f64,
}

/// A seller's server, and who listens to it.
struct Stage<'a> {
    name: &'static str,
    servers: &'a Servers,
    server: Server,
    crowds: Vec<Peer>,
    findings: &'a mut Findings,
    scale: Scale,
}

/// Measures a seller's server.
pub async fn measure(
    servers: &Servers,
    hub: &Hub,
    seller: &Seller,
    scale: Scale,
    findings: &mut Findings,
) -> Result<()> {
    let name = seller.name();
    let mut stage = Stage::open((servers, hub), seller, 1, scale, findings).await?;
    stage.memory().await?;
    stage.commands().await?;
    stage.polling().await?;
    stage.legacy().await?;
    stage.stalled().await?;
    stage.storm().await?;
    stage.close().await?;
    for (signal, row) in
        [(Signal::TERM, Row::Stopped as fn(usize) -> Row), (Signal::KILL, Row::Killed)]
    {
        let mut stage = Stage::open((servers, hub), seller, 2, scale, findings).await?;
        stage.lose_one(signal, row).await.with_context(|| format!("{name} loses a process"))?;
        stage.close().await?;
    }
    for &(clients, processes) in scale.most {
        let mut stage = Stage::open((servers, hub), seller, processes, scale, findings).await?;
        stage.most(clients).await.with_context(|| format!("{clients} clients of {name}"))?;
        stage.close().await?;
    }
    Ok(())
}

/// Measures what a broadcast costs the kernel.
pub async fn measure_kernel(
    servers: &Servers,
    hub: &Hub,
    scale: Scale,
    findings: &mut Findings,
) -> Result<()> {
    let mut command = servers.command(&std::env::current_exe()?, "plain-sockets")?;
    command.arg(PLAIN_SOCKETS);
    let mut plain = hub.start(command).await?;
    let mut crowd = hub.start(crowd_command(servers)?).await?;
    let address = plain.order(json!({ "order": "address" })).await?;
    let packet = format!("42[\"seat_locked\",{{\"padding\":\"{}\"}}]", "x".repeat(PADDING));
    let broadcast = json!({ "order": "broadcast", "packet": packet });
    let used = |peer: &Peer| Cpu::used(&[peer.id()], &[], None, None).processes;
    let mut clients = 0;
    for count in [FEW, scale.many] {
        let more = json!({ "order": "connect", "address": address, "count": count - clients, "at_once": AT_ONCE });
        let connected: Connected = serde_json::from_value(crowd.order(more).await?)?;
        ensure!(connected.connected == count - clients, "not connected: {:?}", connected.why);
        clients = count;
        let (before, mut took) = (used(&plain), Vec::new());
        for _ in 0..scale.locks {
            crowd.order(json!({ "order": "arm", "event": "seat_locked" })).await?;
            let begun = plain.order(broadcast.clone()).await?;
            let heard = expect(&mut crowd, clients).await?;
            took.push(heard.after(clients, begun.as_u64().unwrap_or_default()));
            sleep(PAUSE).await;
        }
        findings.add(KERNEL, Row::Lock(clients, Of::Last), median(took));
        let each = (used(&plain) - before) * 1e3 / scale.locks as f64;
        findings.add(KERNEL, Row::Lock(clients, Of::Cpu), each);
    }
    let before = used(&crowd);
    for _ in 0..BROADCASTS {
        plain.order(broadcast.clone()).await?;
    }
    crowd.order(json!({ "order": "arm", "event": "end" })).await?;
    plain.order(json!({ "order": "broadcast", "packet": "42[\"end\"]" })).await?;
    expect(&mut crowd, clients).await?;
    let frames = (clients * BROADCASTS) as f64;
    findings.add(KERNEL, Row::Taken(clients), frames / (used(&crowd) - before));
    crowd.stop().await?;
    plain.stop().await
}

impl<'a> Stage<'a> {
    async fn open(
        (servers, hub): (&'a Servers, &'a Hub),
        seller: &Seller,
        processes: usize,
        scale: Scale,
        findings: &'a mut Findings,
    ) -> Result<Self> {
        let server = Server::open(servers, seller, processes).await?;
        let mut crowds = Vec::new();
        for _ in 0..processes {
            crowds.push(hub.start(crowd_command(servers)?).await?);
        }
        Ok(Stage { name: seller.name(), servers, server, crowds, findings, scale })
    }

    async fn close(self) -> Result<()> {
        for crowd in self.crowds {
            crowd.stop().await?;
        }
        self.server.close(self.servers).await
    }

    fn found(&mut self, row: Row, value: f64) {
        self.findings.add(self.name, row, value);
    }

    /// Connects `count` clients, spread over the crowds; returns how many do so in a second.
    async fn connect(&mut self, count: usize, more: &Value) -> Result<f64> {
        self.connect_each(count, |_| more.clone()).await
    }

    /// The same with something else for each process, by its port.
    async fn connect_each(&mut self, count: usize, more: impl Fn(u16) -> Value) -> Result<f64> {
        let share = count.div_ceil(self.crowds.len());
        let ports = self.server.ports();
        let connecting = self.crowds.iter_mut().zip(ports).map(async |(crowd, port)| {
            let mut order = json!({
                "order": "connect", "address": format!("127.0.0.1:{port}"), "count": share, "at_once": AT_ONCE,
            });
            for (name, value) in more(port).as_object().into_iter().flatten() {
                order[name] = value.clone();
            }
            let connected: Connected = serde_json::from_value(crowd.order(order).await?)?;
            ensure!(connected.connected == share, "{} of {share} clients have connected: {:?}", connected.connected, connected.why);
            Ok(connected.rate)
        });
        Ok(try_join_all(connecting).await?.iter().sum())
    }

    /// Lets all leave.
    async fn leave(&mut self) -> Result<()> {
        for crowd in &mut self.crowds {
            crowd.order(json!({ "order": "close" })).await?;
        }
        Ok(())
    }

    /// Locks some seats; returns how long it took until the last client knew, and what each lock
    /// cost the server, both in milliseconds.
    async fn locks(&mut self, clients: usize) -> Result<(f64, f64)> {
        let mut connection = Connection::open(self.server.ports()[0]).await?;
        let share = clients.div_ceil(self.crowds.len());
        // The first is not counted.
        let (mut before, mut took) = (0.0, Vec::new());
        for number in 0..=self.scale.locks {
            let (label, request) = self.server.lock();
            for crowd in &mut self.crowds {
                let contains = format!("\"{label}\"");
                let arm = json!({ "order": "arm", "event": "seat_locked", "contains": contains });
                crowd.order(arm).await?;
            }
            if number == 1 {
                before = self.server.cpu();
            }
            let begun = now();
            connection.call(&request).await?.success()?;
            let heard = try_join_all(self.crowds.iter_mut().map(|crowd| expect(crowd, share)));
            let after = heard.await?.iter().map(|heard| heard.after(share, begun)).fold(0.0, worse);
            if after.is_nan() {
                eprintln!("    {}: not all of {clients} clients have heard of {label}", self.name);
                return Ok((f64::NAN, f64::NAN));
            }
            if number > 0 {
                took.push(after);
            }
            sleep(PAUSE).await;
        }
        let each = (self.server.cpu() - before) * 1e3 / self.scale.locks as f64;
        Ok((median(took), each))
    }

    /// Connecting to a process that has just begun, the memory of idle clients, what they hear of
    /// locks, and the memory when they have left.
    async fn memory(&mut self) -> Result<()> {
        let many = self.scale.many;
        let before = self.server.memory();
        let rate = self.connect(many, &json!({})).await?;
        self.found(Row::ConnectRate(many), rate);
        sleep(self.scale.quiet).await;
        let idle = self.server.memory();
        self.found(Row::Memory(many), (idle - before) * 1e3 / many as f64);
        let (last, cpu) = self.locks(many).await?;
        self.found(Row::Lock(many, Of::Last), last);
        self.found(Row::Lock(many, Of::Cpu), cpu);
        self.leave().await?;
        sleep(self.scale.quiet).await;
        let kept = self.server.memory() - before;
        self.found(Row::MemoryKept(many), kept);
        self.connect(FEW, &json!({})).await?;
        let (last, cpu) = self.locks(FEW).await?;
        self.found(Row::Lock(FEW, Of::Last), last);
        self.found(Row::Lock(FEW, Of::Cpu), cpu);
        self.leave().await
    }

    async fn commands(&mut self) -> Result<()> {
        self.connect(COMMANDING, &json!({})).await?;
        let exchange = json!({
            "order": "exchange", "clients": COMMANDING, "packet": format!("42[\"join_event\",{}]", self.server.event()),
            "response": "join_event_response", "seconds": self.scale.time.as_secs_f64(),
        });
        let exchanged = self.crowds[0].order(exchange).await?;
        self.found(Row::Commands(COMMANDING), exchanged["rate"].as_f64().unwrap_or(f64::NAN));
        self.leave().await
    }

    async fn polling(&mut self) -> Result<()> {
        self.connect(FEW, &json!({ "transport": "polling" })).await?;
        let (last, cpu) = self.locks(FEW).await?;
        self.found(Row::PolledLock(FEW, Of::Last), last);
        self.found(Row::PolledLock(FEW, Of::Cpu), cpu);
        self.leave().await
    }

    /// Clients that hear of everything, while more happens than they need to know.
    async fn legacy(&mut self) -> Result<()> {
        self.connect(FEW, &json!({})).await?;
        self.count().await?;
        let (time, before) = (self.scale.time.as_secs_f64(), self.server.cpu());
        let changed = self.change(500).await?;
        let (cpu, after) = (self.server.cpu() - before, changed.seconds);
        let counted = self.count().await?;
        self.found(Row::LegacyChanges(FEW), changed.in_time as f64 / time);
        self.found(Row::LegacyFrames(FEW), counted.all / after);
        self.found(Row::LegacyCpu(FEW), cpu * 100.0 / after);
        // What has not arrived yet does so now, or never.
        let delivered = counted.locks + self.drain().await?;
        let expected = (changed.in_all * FEW) as f64;
        self.found(Row::LegacyDelivered(FEW), delivered * 100.0 / expected);
        let most = self.change(UNREACHABLE).await?;
        self.found(Row::LegacyMost(FEW), most.in_time as f64 / time);
        self.drain().await?;
        self.leave().await
    }

    /// Waits until no more frames arrive; returns how many of locks have.
    async fn drain(&mut self) -> Result<f64> {
        let mut locks = 0.0;
        loop {
            let counted = self.count().await?;
            locks += counted.locks;
            if counted.all == 0.0 {
                return Ok(locks);
            }
            sleep(PAUSE).await;
        }
    }

    /// The frames that have arrived since this was asked last.
    async fn count(&mut self) -> Result<Counted> {
        let counts = self.crowds[0].order(json!({ "order": "counts" })).await?;
        let frames = |count: &Value| count["frames"].as_f64().unwrap_or_default();
        // What only Nexus sends beside each broadcast is none.
        let all = counts.as_object().into_iter().flatten().filter(|(name, _)| *name != "offset");
        let all = all.map(|(_, count)| frames(count)).sum();
        Ok(Counted { all, locks: frames(&counts["seat_locked"]) })
    }

    /// What clients take that read nothing.
    async fn stalled(&mut self) -> Result<()> {
        self.connect(COMMANDING, &json!({})).await?;
        self.crowds[0].order(json!({ "order": "stall", "count": COMMANDING })).await?;
        sleep(self.scale.quiet).await;
        let before = self.server.memory();
        self.change(200).await?;
        let grown = self.server.memory() - before;
        self.found(Row::Stalled(COMMANDING), grown * 1e3 / COMMANDING as f64);
        self.leave().await
    }

    /// Half of the clients lose their process, and go to the other.
    async fn lose_one(&mut self, signal: Signal, row: fn(usize) -> Row) -> Result<()> {
        let clients = self.scale.many / 2;
        let [first, second] = self.server.ports()[..] else { bail!("there are two processes") };
        for crowd in &mut self.crowds {
            crowd.order(json!({ "order": "reconnecting", "on": true })).await?;
        }
        let other = |port: u16| if port == first { second } else { first };
        self.connect_each(
            clients,
            |port| json!({ "elsewhere": format!("127.0.0.1:{}", other(port)) }),
        )
        .await?;
        self.server.lose_one(signal).await?;
        let until = Instant::now() + PATIENCE * 3;
        let share = clients.div_ceil(self.crowds.len());
        loop {
            let status = self.crowds[1].order(json!({ "order": "status" })).await?;
            let is_back = status["came_back"].as_u64() == Some(share as u64);
            if is_back || Instant::now() > until {
                let longest = status["longest_away"].as_f64().filter(|_| is_back);
                self.found(row(clients), longest.unwrap_or(f64::NAN));
                return Ok(());
            }
            sleep(PAUSE).await;
        }
    }

    /// A command's response while clients that joined an event hear of many changes.
    async fn storm(&mut self) -> Result<()> {
        let (many, time) = (self.scale.many, self.scale.time);
        self.connect(many, &json!({ "join": self.server.event() })).await?;
        let (port, event) = (self.server.ports()[0], json!(self.server.event()));
        let sockets = try_join_all((0..COMMANDED).map(|_| Socket::open(port, None))).await?;
        let goes_on = for_so_long(time);
        let commanding = sockets.into_iter().map(async |mut socket| {
            let mut took = Vec::new();
            while goes_on() {
                let sent = Instant::now();
                let response = timeout(PATIENCE, socket.command("join_event", &event)).await;
                took.push(milliseconds(sent.elapsed()));
                let Ok(response) = response else { break };
                response?;
                sleep(Duration::from_millis(20)).await;
            }
            anyhow::Ok(took)
        });
        let (changed, took) = tokio::join!(self.change(200), try_join_all(commanding));
        let (in_time, mut took) = (changed?.in_time, took?.concat());
        took.sort_by(f64::total_cmp);
        self.found(Row::StormChanges(many), in_time as f64 / time.as_secs_f64());
        self.found(Row::StormCommand(many), percentile(&took, 0.99));
        // There may be much that has not arrived yet: the crowd goes, whatever waits for it.
        for crowd in std::mem::take(&mut self.crowds) {
            crowd.stop().await?;
        }
        Ok(())
    }

    /// Begins to change so many seats a second, as far as the server keeps up.
    async fn change(&mut self, rate: u32) -> Result<Changed> {
        let time = self.scale.time;
        let count = (time.as_secs_f64() * f64::from(rate)) as usize;
        let requests: Vec<_> = (0..count).map(|_| self.server.lock().1).collect();
        let changing = connections(self.server.ports()[0], CHANGING).await?;
        let (begun, next) = (Instant::now(), Cell::new(0));
        let (in_time, in_all) = (Cell::new(0), Cell::new(0));
        let change = async |mut connection: Connection| -> Result<()> {
            while let Some(request) = requests.get(next.get()) {
                let due = begun + Duration::from_secs(1) * next.get() as u32 / rate;
                next.set(next.get() + 1);
                sleep_until(due.into()).await;
                if begun.elapsed() >= time {
                    break;
                }
                connection.call(request).await?.success()?;
                in_all.set(in_all.get() + 1);
                in_time.set(in_time.get() + usize::from(begun.elapsed() < time));
            }
            Ok(())
        };
        try_join_all(changing.into_iter().map(change)).await?;
        let seconds = begun.elapsed().as_secs_f64();
        Ok(Changed { in_time: in_time.get(), in_all: in_all.get(), seconds })
    }

    /// As many clients as the processes have room for; each hears of what the first process does.
    async fn most(&mut self, clients: usize) -> Result<()> {
        let (processes, before) = (self.crowds.len(), self.server.memory());
        self.connect(clients, &json!({})).await?;
        sleep(self.scale.quiet).await;
        let idle = self.server.memory();
        self.found(Row::ManyMemory(clients, processes), (idle - before) * 1e3 / clients as f64);
        let (last, cpu) = self.locks(clients).await?;
        self.found(Row::ManyLock(clients, processes, Of::Last), last);
        self.found(Row::ManyLock(clients, processes, Of::Cpu), cpu);
        Ok(())
    }
}

impl Heard {
    /// How long it took until the last of so many knew, in milliseconds; not a number if not all do.
    fn after(&self, clients: usize, begun: u64) -> f64 {
        match self.last {
            Some(last) if self.clients >= clients => last.saturating_sub(begun) as f64 / 1e3,
            _ => f64::NAN,
        }
    }
}

fn crowd_command(servers: &Servers) -> Result<Command> {
    servers.command(&Release::of_driver()?.binary("nexus-bench-crowd")?, "crowd")
}

async fn expect(crowd: &mut Peer, clients: usize) -> Result<Heard> {
    let expect = json!({ "order": "expect", "clients": clients });
    Ok(serde_json::from_value(crowd.order(expect).await?)?)
}

/// What is not a number is worse than any.
fn worse(one: f64, other: f64) -> f64 {
    if one.is_nan() || one > other { one } else { other }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    percentile(&values, 0.5)
}
