//! What becomes of a sale's minute when more people come than can be served: how many are, how long
//! they wait, and what the others hear.

use std::{cell::Cell, time::Duration};

use anyhow::{Result, ensure};

use crate::{
    cpu::Cpu,
    open_loop::{Answer, Outcome, Part, open_loop, recovered, within},
    servers::Servers,
    shop::{
        http::{Connection, Request},
        load::{closed_loop, connections, for_so_long},
        requests::{OnSale, book, lock},
        seller::Seller,
        site::Site,
        store::{NAME, Store},
    },
};

/// What somebody wants of the shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// To look at the event, its seats, or the list.
    Browse,
    /// To lock a seat.
    Seats,
    /// To book the seat, to ask for the payment; and Razorpay's webhooks.
    Pay,
}

impl Class {
    pub const ALL: [Class; 3] = [Class::Browse, Class::Seats, Class::Pay];

    /// As reports name it.
    pub fn name(self) -> &'static str {
        match self {
            Class::Browse => "browse",
            Class::Seats => "seats",
            Class::Pay => "pay",
        }
    }
}

/// So many clients find out what can be sustained.
pub const CLIENTS: usize = 64;
/// Seats that were locked before, to be booked.
const LOCKED: usize = 9_000;
/// Bookings that wait for their payment.
const ORDERED: usize = 500;
/// All want one of these; as many others are wanted by one buyer each.
const WANTED: u64 = 100;

/// A part of the load: how much of what can be sustained comes, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Phase {
    pub share: f64,
    pub time: Duration,
}

/// Half of it, nearly all, more and more, and half again.
pub fn phases(time: Duration) -> [Phase; 6] {
    [0.5, 0.9, 1.5, 2.0, 3.0, 0.5].map(|share| Phase { share, time })
}

/// What came of a phase.
#[derive(Debug, Clone)]
pub struct Measured {
    pub phase: Phase,
    /// Requests a second.
    pub rate: f64,
    pub answers: Vec<Answer<Class>>,
    pub cpu: Cpu,
}

impl Measured {
    /// Those of a class, or of all, with such an outcome.
    pub fn of(&self, class: Option<Class>, is: impl Fn(Outcome) -> bool) -> Vec<&Answer<Class>> {
        let is_one =
            |a: &&Answer<Class>| class.is_none_or(|class| a.class == class) && is(a.outcome);
        self.answers.iter().filter(is_one).collect()
    }

    /// Per second.
    pub fn a_second(&self, count: usize) -> f64 {
        count as f64 / self.phase.time.as_secs_f64()
    }

    /// How late nearly all requests were sent at most, in milliseconds: what the driver adds.
    pub fn late(&self) -> f64 {
        within(&self.of(None, |_| true), 0.99, |answer| answer.late)
    }
}

/// How many seconds after the last phase but one the shop is as it was in the first: nobody is
/// turned away any more, or waits for longer than twice as long as then, and 50 ms.
pub fn recovery(phases: &[Measured]) -> Option<f64> {
    let (first, last) = (phases.first()?, phases.last()?);
    let usual = within(&first.of(None, Outcome::is_answer), 0.99, |answer| answer.took);
    let until: Duration = phases.iter().map(|measured| measured.phase.time).sum();
    let since = (until - last.phase.time).as_secs_f64();
    recovered(&last.answers, since, until.as_secs_f64(), (2.0 * usual).max(50.0))
}

/// A shop in its minute.
pub struct Sale {
    store: Store,
    site: Site,
    on_sale: OnSale,
    next: Cell<u64>,
    booked: Cell<usize>,
}

impl Sale {
    /// Opens it, with settings of its own.
    pub async fn open(
        servers: &Servers,
        seller: &Seller,
        settings: &[(String, String)],
    ) -> Result<Self> {
        Self::open_at(servers, seller, servers.postgres.port(), settings).await
    }

    /// The same where its processes reach PostgreSQL at another port.
    pub async fn open_at(
        servers: &Servers,
        seller: &Seller,
        port: u16,
        settings: &[(String, String)],
    ) -> Result<Self> {
        let store = Store::create(servers, seller).await?;
        let url = servers.database_url(port, NAME);
        let site = Site::open_with(servers, seller, &store, &url, settings).await?;
        let on_sale = site.event(1_000_000).await?;
        store.events(200, site.buyers[0]).await?;
        store.lock(on_sale, "P", LOCKED, &site.buyers).await?;
        store.lock(on_sale, "O", ORDERED, &site.buyers).await?;
        store.book(on_sale, "O").await?;
        sqlx::query("ANALYZE").execute(&store.db).await?;
        servers.settle().await?;
        Ok(Sale { store, site, on_sale, next: Cell::new(0), booked: Cell::new(0) })
    }

    /// What the next of a hundred wants.
    fn request(&self) -> (Class, Request) {
        let next = self.next.get();
        self.next.set(next + 1);
        let (site, on_sale, event) = (&self.site, self.on_sale, self.on_sale.event);
        // In an order in which neighbours differ.
        match next * 37 % 100 {
            0..45 => (Class::Browse, Request::get(&format!("events/{event}"), None)),
            45..65 => (Class::Browse, Request::get(&format!("seats/{event}"), None)),
            65..70 => (Class::Browse, Request::get("events?limit=20", None)),
            70..80 => (Class::Seats, lock(on_sale, &format!("F{next}"), site.token(next as usize))),
            80..90 => {
                let label = format!("S{}", next % WANTED);
                (Class::Seats, lock(on_sale, &label, site.token(next as usize)))
            }
            90..93 if self.booked.get() < LOCKED => {
                let seat = self.booked.get() + 1;
                self.booked.set(seat);
                (Class::Pay, book(on_sale, &format!("P{seat}"), site.token(seat)))
            }
            90..96 => {
                let order = 1 + next as usize % ORDERED;
                let path = format!("payments/verify/order_O{order}");
                (Class::Pay, Request::get(&path, Some(site.token(order))))
            }
            _ => (Class::Pay, site.foreign_payment(next)),
        }
    }

    /// Requests a second that are answered to clients of whom each waits for the last answer, and
    /// the time that is enough for ninety-nine of a hundred, in milliseconds. Nobody may be turned
    /// away meanwhile: it would count as an answer.
    pub async fn sustained(&self, time: Duration) -> Result<(f64, f64)> {
        let clients = connections(self.site.port(), CLIENTS).await?;
        let work = async |_, connection: &mut Connection| {
            let response = connection.glance(&self.request().1).await?;
            ensure!(response.status < 500, "answered with {}", response.status);
            Ok(())
        };
        let found = closed_loop(clients, time / 5, for_so_long(time), || self.site.cpu(), work);
        let found = found.await?;
        Ok((found.rate, found.p99))
    }

    /// Lets as many come as the phases say, one after the other, if so many can be sustained.
    pub async fn measure(&self, phases: &[Phase], sustained: f64) -> Vec<Measured> {
        let part = |phase: &Phase| Part { rate: phase.share * sustained, time: phase.time };
        let parts: Vec<_> = phases.iter().map(part).collect();
        // At the beginning of each, and at the end.
        let mut used = Vec::new();
        let request = |part: usize| {
            if used.len() == part {
                used.push(self.site.cpu());
            }
            self.request()
        };
        let answers = open_loop(self.site.port(), &parts, request).await;
        used.push(self.site.cpu());
        let cpu = used.windows(2).map(|used| used[1] - used[0]);
        let measured = phases.iter().zip(parts).zip(answers.into_iter().zip(cpu));
        measured
            .map(|((&phase, Part { rate, .. }), (answers, cpu))| Measured {
                phase,
                rate,
                answers,
                cpu,
            })
            .collect()
    }

    /// Ends its processes, and forgets what was sold.
    pub async fn close(self, servers: &Servers) -> Result<()> {
        self.site.close().await?;
        self.store.drop(servers).await
    }
}
