//! What is measured of a shop. Each function is a group of lines of the report and can be run
//! alone. Seats, bookings and orders that a line needs are put into the database beforehand.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures_util::{
    StreamExt, TryStreamExt,
    future::{join_all, try_join_all},
    stream,
};
use nexus_common::tickets::codes::Code;
use nexus_ticket_code::Claim;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    http::{Connection, Request},
    load::{Load, closed_loop, connections, for_so_long, load, milliseconds},
    requests::{OnSale, book, buy, lock},
    seller::Seller,
    site::{BUYERS, Site},
    sockets::Socket,
    store::Store,
};
use crate::{comparison::Row, cpu::Cpu, servers::Servers};

/// How long things are measured.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// One line.
    pub time: Duration,
    /// Payments of a burst.
    pub burst: usize,
}

/// A group of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Logins,
    Purchase,
    Burst,
    Reads,
    Bookings,
    Webhooks,
    Locks,
    Sockets,
    /// Only of a shop that has a door.
    Scans,
}

impl Group {
    /// All, in the order in which they are measured: the memory of a process that has done nothing
    /// yet comes first.
    pub const ALL: [Group; 9] = [
        Group::Logins,
        Group::Purchase,
        Group::Burst,
        Group::Reads,
        Group::Bookings,
        Group::Webhooks,
        Group::Locks,
        Group::Sockets,
        Group::Scans,
    ];
}

/// Orders that wait for their payment when webhooks are measured.
const ORDERS: usize = 10_000;
/// Seats that wait for their booking when bookings are measured.
const LOCKED: usize = 12_000;
/// Tickets that are sold when they are scanned.
const TICKETS: usize = 60_000;
/// Bookings that each buyer has when they are listed.
const BOOKINGS: usize = 10;
/// How often a buyer's page asks whether the booking is confirmed.
const POLL: Duration = Duration::from_millis(25);
/// The longest wait for what has been paid.
const PATIENCE: Duration = Duration::from_secs(120);

/// A shop that is open, and what its lines have found.
struct Shop<'a> {
    site: Site,
    store: &'a Store,
    servers: &'a Servers,
    scale: Scale,
    rows: Vec<(Row, Load)>,
}

/// Opens a shop, measures some groups, and closes it.
pub async fn measure(
    servers: &Servers,
    seller: &Seller,
    groups: &[Group],
    scale: Scale,
) -> Result<Vec<(Row, Load)>> {
    let store = Store::create(servers, seller).await?;
    let site = Site::open(servers, seller, &store, &store.url).await?;
    let mut shop = Shop { site, store: &store, servers, scale, rows: Vec::new() };
    for group in groups {
        servers.settle().await?;
        match group {
            Group::Logins => shop.logins().await?,
            Group::Purchase => shop.purchase().await?,
            Group::Burst => shop.burst().await?,
            Group::Reads => shop.reads().await?,
            Group::Bookings => shop.bookings().await?,
            Group::Webhooks => shop.webhooks().await?,
            Group::Locks => shop.locks().await?,
            Group::Sockets => shop.sockets().await?,
            Group::Scans => shop.scans().await?,
        }
    }
    let Shop { site, rows, .. } = shop;
    site.close().await?;
    store.drop(servers).await?;
    Ok(rows)
}

/// Counts from 1.
#[derive(Default)]
struct Counter(Cell<usize>);

impl Counter {
    fn next(&self) -> usize {
        self.0.set(self.0.get() + 1);
        self.0.get()
    }
}

impl Shop<'_> {
    fn found(&mut self, row: Row, load: Load) {
        eprintln!("    {}: {}", row.what(), row.says(&load));
        self.rows.push((row, load));
    }

    /// Whether a list has as many entries as it should, so that all sellers do the same.
    async fn is_listed(&self, request: &Request, entries: usize) -> Result<()> {
        let list = Connection::open(self.site.port()).await?.call(request).await?.json()?;
        ensure!(list["data"].as_array().map(Vec::len) == Some(entries), "a list is {list}");
        Ok(())
    }

    async fn event(&self) -> Result<OnSale> {
        self.site.event(1_000_000).await
    }

    async fn logins(&mut self) -> Result<()> {
        let site = &self.site;
        let memory = || {
            let (rate, time) = (site.api_memory(), 1.0);
            Load { rate, p50: f64::NAN, p99: f64::NAN, cpu: Cpu::default(), time }
        };
        let idle = memory();
        let login = |number: usize| {
            let email = format!("buyer-{}@nexus.example", 1 + number % BUYERS);
            let body = json!({ "email": email, "password": site.password });
            Request::post("auth/login", None, &body.to_string())
        };
        Connection::open(site.port()).await?.call(&login(0)).await?.success()?;
        sleep(Duration::from_millis(200)).await;
        let first = memory();
        let next = Counter::default();
        let found = load(site, 4, self.scale.time, async |_, connection| {
            connection.call(&login(next.next())).await?.success()
        });
        let found = found.await?;
        // More at once than are hashed: some are refused.
        let flood = (0..200)
            .map(async |number| Connection::open(site.port()).await?.call(&login(number)).await);
        join_all(flood).await;
        sleep(Duration::from_secs(2)).await;
        let flooded = memory();
        self.found(Row::Login(4), found);
        self.found(Row::MemoryIdle, idle);
        self.found(Row::MemoryLogin, first);
        self.found(Row::MemoryFlood, flooded);
        Ok(())
    }

    async fn purchase(&mut self) -> Result<()> {
        for clients in [8, 32] {
            let on_sale = self.event().await?;
            let (site, next) = (&self.site, Counter::default());
            let found = load(site, clients, 2 * self.scale.time, async |client, connection| {
                purchase(site, connection, on_sale, client, next.next()).await
            });
            let found = found.await?;
            self.found(Row::Purchase(clients), found);
            self.until_sold(on_sale, next.0.get()).await?;
        }
        Ok(())
    }

    /// Waits until the tickets of so many sales are mailed, so that no line pays for another.
    async fn until_sold(&self, on_sale: OnSale, sales: usize) -> Result<()> {
        let goes_on = for_so_long(PATIENCE);
        while self.store.sold(on_sale).await?.2 < sales as i64 {
            ensure!(goes_on(), "the tickets of {sales} sales are not mailed");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn burst(&mut self) -> Result<()> {
        let on_sale = self.event().await?;
        let alone = self.lock_distinct(on_sale, "A", 16).await?;
        let count = self.scale.burst;
        self.store.lock(on_sale, "P", count, &self.site.buyers).await?;
        self.store.book(on_sale, "P").await?;
        self.servers.settle().await?;

        let site = &self.site;
        let (begun, before, is_over) = (Instant::now(), site.cpu(), Cell::new(false));
        let deliver = async |client: usize| -> Result<()> {
            let mut connection = Connection::open(site.port()).await?;
            for number in (client..count).step_by(16) {
                let request = site.captured(&format!("order_P{}", number + 1));
                connection.call(&request).await?.success()?;
            }
            Ok(())
        };
        let delivered = async {
            try_join_all((0..16).map(deliver)).await?;
            anyhow::Ok(begun.elapsed())
        };
        let settled = async {
            let (mut confirmed, goes_on) = (None, for_so_long(PATIENCE));
            let now = || (begun.elapsed(), site.cpu() - before);
            loop {
                let asked = Instant::now();
                let (bookings, tickets, _) = self.store.sold(on_sale).await?;
                // The question costs PostgreSQL something, too.
                let pause = (10 * asked.elapsed()).max(Duration::from_millis(10));
                if bookings == count as i64 && confirmed.is_none() {
                    confirmed = Some(now());
                    is_over.set(true);
                }
                if let (Some(confirmed), true) = (confirmed, tickets == count as i64) {
                    return anyhow::Ok((confirmed, now()));
                }
                ensure!(goes_on(), "{bookings} of {count} bookings confirmed, {tickets} tickets");
                sleep(pause).await;
            }
        };
        let meanwhile = self.lock_while(on_sale, || !is_over.get());
        let (delivered, (confirmed, made), meanwhile) =
            tokio::try_join!(delivered, settled, meanwhile)?;
        let found = |(time, cpu): (Duration, Cpu)| {
            let seconds = time.as_secs_f64();
            let lag = milliseconds(time.saturating_sub(delivered));
            Load { rate: count as f64 / seconds, p50: lag, p99: lag, cpu, time: seconds }
        };
        self.found(Row::BurstConfirmed, found(confirmed));
        self.found(Row::BurstTickets, found(made));
        self.found(Row::BurstLocksAlone, alone);
        self.found(Row::BurstLocks, meanwhile);
        self.until_sold(on_sale, count).await
    }

    async fn reads(&mut self) -> Result<()> {
        self.store.events(100, self.site.buyers[0]).await?;
        let on_sale = self.site.event(1_000).await?;
        let one = Request::get(&format!("events/{}", on_sale.event), None);
        let list = Request::get("events", None);
        self.is_listed(&list, 10).await?;
        for (row, request) in [(Row::EventRead as fn(usize) -> Row, one), (Row::EventList, list)] {
            for clients in [16, 64] {
                let found = load(&self.site, clients, self.scale.time, async |_, connection| {
                    connection.call(&request).await?.success()
                });
                let found = found.await?;
                self.found(row(clients), found);
            }
        }
        Ok(())
    }

    async fn bookings(&mut self) -> Result<()> {
        let on_sale = self.event().await?;
        self.store.lock(on_sale, "L", BOOKINGS * BUYERS, &self.site.buyers).await?;
        self.store.book(on_sale, "L").await?;
        let site = &self.site;
        let request = |token: &String| Request::get("bookings/my-bookings", Some(token));
        let requests: Vec<Request> = site.tokens.iter().map(request).collect();
        self.is_listed(&requests[0], BOOKINGS).await?;
        let next = Counter::default();
        let found = load(site, 64, self.scale.time, async |_, connection| {
            connection.call(&requests[next.next() % requests.len()]).await?.success()
        });
        let found = found.await?;
        self.found(Row::MyBookings(64), found);

        self.store.lock(on_sale, "C", LOCKED, &self.site.buyers).await?;
        self.servers.settle().await?;
        let (site, next) = (&self.site, Counter::default());
        let found = load(site, 64, self.scale.time, async |_, connection| {
            let number = next.next();
            ensure!(number <= LOCKED, "there are too few seats to book");
            let request = book(on_sale, &format!("C{number}"), site.token(number));
            connection.call(&request).await?.success()
        });
        let found = found.await?;
        self.found(Row::CreateBooking(64), found);
        Ok(())
    }

    async fn webhooks(&mut self) -> Result<()> {
        let on_sale = self.event().await?;
        self.store.lock(on_sale, "W", ORDERS, &self.site.buyers).await?;
        self.store.book(on_sale, "W").await?;
        self.servers.settle().await?;
        let (site, next) = (&self.site, Counter::default());
        let found = load(site, 16, self.scale.time, async |_, connection| {
            let number = next.next();
            ensure!(number <= ORDERS, "there are too few orders to pay");
            connection.call(&site.captured(&format!("order_W{number}"))).await?.success()
        });
        let found = found.await?;
        self.found(Row::Webhook(16), found);
        self.until_sold(on_sale, next.0.get()).await
    }

    async fn locks(&mut self) -> Result<()> {
        let on_sale = self.event().await?;
        for clients in [1, 16, 64, 256] {
            let found = self.lock_distinct(on_sale, &format!("D{clients}X"), clients).await?;
            self.found(Row::Lock(clients), found);
        }

        let (site, next) = (&self.site, Counter::default());
        let found = load(site, 64, self.scale.time, async |client, connection| {
            // A new seat for every thousand requests: one wins, the others are told so.
            let label = format!("ONE{}", next.next() / 1_000);
            let response = connection.call(&lock(on_sale, &label, site.token(client))).await?;
            if response.status == 409 { Ok(()) } else { response.success() }
        });
        let found = found.await?;
        self.found(Row::OneSeat(64), found);

        let port = self.site.port();
        let listeners: Vec<Socket> = stream::iter(0..1_000)
            .map(|_| Socket::open(port, None))
            .buffer_unordered(64)
            .try_collect()
            .await?;
        let listening: Vec<_> =
            listeners.into_iter().map(|socket| tokio::spawn(socket.listen())).collect();
        let found = self.lock_distinct(on_sale, "H", 16).await?;
        listening.iter().for_each(tokio::task::JoinHandle::abort);
        self.found(Row::LockHeard(16), found);
        Ok(())
    }

    async fn sockets(&mut self) -> Result<()> {
        let on_sale = self.event().await?;
        for clients in [16, 64] {
            let (site, next) = (&self.site, Counter::default());
            let opened =
                (0..clients).map(|client| Socket::open(site.port(), Some(site.token(client))));
            let sockets = try_join_all(opened).await?;
            let work = async |_, socket: &mut Socket| {
                let label = format!("S{clients}X{}", next.next());
                let seat = json!({
                    "eventId": on_sale.event, "seatTypeId": on_sale.seat_type, "seat_label": label,
                });
                let response = socket.command("lock_seat", &seat).await?;
                ensure!(response["success"] == Value::Bool(true), "refused: {response}");
                Ok(())
            };
            let time = self.scale.time;
            let found =
                closed_loop(sockets, time / 10, for_so_long(time), || site.cpu(), work).await?;
            self.found(Row::SocketLock(clients), found);
        }
        Ok(())
    }

    async fn scans(&mut self) -> Result<()> {
        let on_sale = self.event().await?;
        let mut connection = Connection::open(self.site.port()).await?;
        let path = format!("events/{}/door-keys", on_sale.event);
        let create = Request::post(&path, Some(self.site.token(0)), r#"{"name":"a phone"}"#);
        let created = connection.call(&create).await?;
        if created.status == 404 {
            return Ok(());
        }
        let key = created.json()?["data"]["token"].as_str().context("a door key")?.to_owned();
        let tickets = self.store.sell(on_sale, TICKETS, &self.site.buyers).await?;
        let signs = self.site.signs_tickets.clone();
        self.store.publish(&signs).await?;
        let text = |(ticket, nonce): (i32, i64)| {
            Code::sign(&signs, Claim { event: on_sale.event, ticket, nonce }).text()
        };
        let path = format!("events/{}/check-ins", on_sale.event);
        let scan = |ticket| {
            let body = json!({ "text": text(ticket), "scan_id": uuid::Uuid::now_v7() });
            Request::post(&path, Some(&key), &body.to_string())
        };
        self.servers.settle().await?;
        let next = Counter::default();
        for (row, clients) in [
            (Row::Scan as fn(usize) -> Row, 1),
            (Row::Scan, 20),
            (Row::Scan, 64),
            (Row::ScanAgain, 20),
        ] {
            let (expected, first) = match row(clients) {
                Row::ScanAgain(_) => ("already_used", 0),
                _ => ("ok", next.0.get()),
            };
            let used = next.0.get();
            let found = load(&self.site, clients, self.scale.time, async |_, connection| {
                let number = next.next() - used + first;
                ensure!(number <= tickets.len(), "there are too few tickets to scan");
                let scanned = connection.call(&scan(tickets[number - 1])).await?.json()?;
                ensure!(scanned["data"]["result"] == expected, "a scan came to {scanned}");
                Ok(())
            });
            let found = found.await?;
            self.found(row(clients), found);
        }
        Ok(())
    }

    async fn lock_distinct(&self, on_sale: OnSale, letter: &str, clients: usize) -> Result<Load> {
        let (site, next) = (&self.site, Counter::default());
        load(site, clients, self.scale.time, async |_, connection| {
            let number = next.next();
            let request = lock(on_sale, &format!("{letter}{number}"), site.token(number));
            connection.call(&request).await?.success()
        })
        .await
    }

    /// Sixteen clients lock seats while something else goes on. A lock that is refused because the
    /// shop is too busy counts with its time, but not as a lock.
    async fn lock_while(&self, on_sale: OnSale, go_on: impl Fn() -> bool) -> Result<Load> {
        let (site, next, locked) = (&self.site, Counter::default(), Counter::default());
        let work = async |_, connection: &mut Connection| {
            let number = next.next();
            let request = lock(on_sale, &format!("M{number}"), site.token(number));
            if connection.call(&request).await?.status == 200 {
                locked.next();
            }
            Ok(())
        };
        let clients = connections(site.port(), 16).await?;
        let found = closed_loop(clients, Duration::ZERO, go_on, || site.cpu(), work).await?;
        Ok(Load { rate: locked.0.get() as f64 / found.time, ..found })
    }
}

/// Locks, books, orders, pays, and asks until the booking is confirmed.
async fn purchase(
    site: &Site,
    connection: &mut Connection,
    on_sale: OnSale,
    client: usize,
    number: usize,
) -> Result<()> {
    let token = site.token(client);
    let order = buy(connection, on_sale, &format!("P{number}"), token).await?;
    connection.call(&site.captured(&order)).await?.success()?;
    let verify = Request::get(&format!("payments/verify/{order}"), Some(token));
    let goes_on = for_so_long(PATIENCE);
    while connection.call(&verify).await?.json()?["data"]["is_confirmed"] != Value::Bool(true) {
        ensure!(goes_on(), "{order} is not confirmed");
        sleep(POLL).await;
    }
    Ok(())
}
