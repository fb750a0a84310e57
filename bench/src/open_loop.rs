//! Clients who do not wait for each other: a request comes when it comes, however long the ones
//! before it take. Its time counts from the moment at which it was to come, so that a server that
//! is late, or a driver, is late in the numbers, too.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    task::{JoinSet, LocalSet},
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    samples::percentile,
    shop::{
        http::{Connection, Request},
        load::milliseconds,
    },
};

/// How often requests are sent.
const TICK: Duration = Duration::from_millis(1);
/// Who has waited for so long gives up.
const GIVES_UP: Duration = Duration::from_secs(10);
/// Connections at once. A request that finds none is lost.
const MOST_CONNECTIONS: usize = 8_000;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// Served, or refused for a reason that concerns this request.
    Served,
    /// There was too much to do: 503, with the seconds after which to come again, if it says so.
    TurnedAway(Option<u64>),
    /// Anything else, no answer for instance.
    Failed,
}

/// A request that has come to its end.
#[derive(Debug, Clone, Copy)]
pub struct Answer<C> {
    pub class: C,
    /// When it was to come, seconds from the beginning.
    pub came: f64,
    /// How much later it was sent, in milliseconds.
    pub late: f64,
    /// From when it was to come until its answer was there, in milliseconds.
    pub took: f64,
    pub outcome: Outcome,
}

/// Sends requests to a port of this machine at a constant rate, for so long; `request` makes the
/// n-th. Returns when each has come to its end.
pub async fn open_loop<C: Copy + 'static>(
    port: u16,
    rate: f64,
    time: Duration,
    mut request: impl FnMut(u64) -> (C, Request),
) -> Vec<Answer<C>> {
    let clients = Rc::new(Clients { port, idle: RefCell::default(), open: Cell::new(0) });
    let answers = Rc::new(RefCell::new(Vec::with_capacity((rate * time.as_secs_f64()) as usize)));
    let local = LocalSet::new();
    local
        .run_until(async {
            let mut sent = JoinSet::new();
            let begun = Instant::now();
            let mut ticks = interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let all = (rate * time.as_secs_f64()) as u64;
            let mut number = 0;
            while number < all {
                ticks.tick().await;
                let due = ((begun.elapsed().as_secs_f64() * rate) as u64 + 1).min(all);
                for number in number..due {
                    let (class, request) = request(number);
                    let came = begun + Duration::from_secs_f64(number as f64 / rate);
                    let (clients, answers) = (clients.clone(), answers.clone());
                    sent.spawn_local(async move {
                        let late = milliseconds(came.elapsed());
                        let outcome = clients.ask(&request).await;
                        let (came, took) = (came - begun, milliseconds(came.elapsed()));
                        let came = came.as_secs_f64();
                        answers.borrow_mut().push(Answer { class, came, late, took, outcome });
                    });
                }
                number = due;
                while sent.try_join_next().is_some() {}
            }
            while sent.join_next().await.is_some() {}
        })
        .await;
    answers.take()
}

/// Connections that are open, of which those that wait for no answer are used again.
struct Clients {
    port: u16,
    idle: RefCell<Vec<Connection>>,
    open: Cell<usize>,
}

impl Clients {
    async fn ask(&self, request: &Request) -> Outcome {
        let idle = self.idle.borrow_mut().pop();
        let asked = async {
            let mut connection = match idle {
                Some(connection) => connection,
                None => Connection::open(self.port).await?,
            };
            let response = connection.call(request).await?;
            self.idle.borrow_mut().push(connection);
            anyhow::Ok(response)
        };
        if self.open.get() >= MOST_CONNECTIONS {
            return Outcome::Failed;
        }
        self.open.set(self.open.get() + 1);
        let answered = timeout(GIVES_UP, asked).await;
        self.open.set(self.open.get() - 1);
        match answered {
            Ok(Ok(response)) => match response.status {
                503 => Outcome::TurnedAway(response.retry_after),
                status if status < 500 => Outcome::Served,
                _ => Outcome::Failed,
            },
            _ => Outcome::Failed,
        }
    }
}

/// The least time in which so large a share of them came to their end, in milliseconds.
pub fn within<C>(answers: &[&Answer<C>], share: f64, what: impl Fn(&Answer<C>) -> f64) -> f64 {
    let mut took: Vec<f64> = answers.iter().map(|answer| what(answer)).collect();
    took.sort_by(f64::total_cmp);
    percentile(&took, share)
}

/// How long it takes, in seconds from the beginning, until nobody is turned away any more or waits
/// for longer than `long` milliseconds, as they come.
pub fn recovered<C>(answers: &[Answer<C>], long: f64) -> f64 {
    let ailing = answers.iter().filter(|a| a.outcome != Outcome::Served || a.took > long);
    ailing.map(|answer| answer.came).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(came: f64, took: f64, outcome: Outcome) -> Answer<()> {
        Answer { class: (), came, late: 0.0, took, outcome }
    }

    #[test]
    fn a_server_has_recovered_when_the_last_to_be_turned_away_has_come() {
        let answers = [
            answer(0.1, 5.0, Outcome::Served),
            answer(0.2, 5.0, Outcome::TurnedAway(Some(3))),
            answer(0.3, 80.0, Outcome::Served),
            answer(0.4, 5.0, Outcome::Served),
        ];
        assert_eq!(recovered(&answers, 100.0), 0.2);
        assert_eq!(recovered(&answers, 50.0), 0.3);
        assert_eq!(recovered(&answers[..1], 50.0), 0.0);
    }
}
