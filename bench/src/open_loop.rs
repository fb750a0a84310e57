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
        http::{Connection, Request, Response},
        load::milliseconds,
    },
};

/// How often requests are sent.
const TICK: Duration = Duration::from_millis(1);
/// Who has waited for so long gives up.
const GIVES_UP: Duration = Duration::from_secs(10);
/// Requests under way at once, each with a connection. One more finds none, and is lost.
const MOST_CONNECTIONS: usize = 8_000;
/// Whether a server has recovered is seen from those who come within so many seconds …
const WINDOW: f64 = 0.25;
/// … of so many windows in turn.
const WELL: usize = 8;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// Done: 2xx.
    Served,
    /// Refused for a reason that concerns this request: 4xx, for a seat that somebody else has.
    Declined,
    /// There was too much to do: 503.
    TurnedAway {
        /// The seconds after which to come again, if it says so.
        wait: Option<u64>,
        /// Whether its code says why.
        is_overloaded: bool,
    },
    /// Anything else, and what it was.
    Failed(&'static str),
}

impl Outcome {
    /// Whether the server has done what can be done.
    pub fn is_answer(self) -> bool {
        matches!(self, Outcome::Served | Outcome::Declined)
    }

    /// Whether there was too much to do.
    pub fn is_turned_away(self) -> bool {
        matches!(self, Outcome::TurnedAway { .. })
    }

    /// Whether anything else went wrong.
    pub fn is_failure(self) -> bool {
        matches!(self, Outcome::Failed(_))
    }

    fn of(response: &Response) -> Self {
        match response.status {
            200..300 => Outcome::Served,
            400..500 => Outcome::Declined,
            503 => Outcome::TurnedAway {
                wait: response.retry_after,
                is_overloaded: serde_json::from_slice(&response.body)
                    .is_ok_and(|body: serde_json::Value| body["error"]["code"] == "overloaded"),
            },
            _ => Outcome::Failed("answered with another status"),
        }
    }
}

/// A request that has come to its end.
#[derive(Debug, Clone, Copy)]
pub struct Answer<C> {
    pub class: C,
    /// When it was to come, seconds from the beginning of the first part.
    pub came: f64,
    /// How much later it was sent, in milliseconds.
    pub late: f64,
    /// From when it was to come until its answer was there, in milliseconds.
    pub took: f64,
    pub outcome: Outcome,
}

/// A part of the load: so many requests a second, for so long.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    pub rate: f64,
    pub time: Duration,
}

/// The part that each request belongs to, and when it is to come: evenly, one part after the other.
pub fn arrivals(parts: &[Part]) -> impl Iterator<Item = (usize, Duration)> {
    let mut until = Duration::ZERO;
    parts.iter().enumerate().flat_map(move |(index, &Part { rate, time })| {
        let begun = until;
        until += time;
        let count = (rate * time.as_secs_f64()).round() as u32;
        (0..count)
            .map(move |number| (index, begun + Duration::from_secs_f64(f64::from(number) / rate)))
    })
}

/// Sends requests to a port of this machine, each when it is to come; `request` makes one for a
/// part. No part waits for the answers of the one before it. Returns the answers, part by part,
/// when each request has come to its end.
pub async fn open_loop<C: Copy + 'static>(
    port: u16,
    parts: &[Part],
    mut request: impl FnMut(usize) -> (C, Request),
) -> Vec<Vec<Answer<C>>> {
    let clients = Rc::new(Clients { port, idle: RefCell::default(), asking: Cell::new(0) });
    let answers = Rc::new(RefCell::new(vec![Vec::new(); parts.len()]));
    let send = async {
        let mut sent = JoinSet::new();
        let begun = Instant::now();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut arrivals = arrivals(parts).peekable();
        while arrivals.peek().is_some() {
            ticks.tick().await;
            let now = begun.elapsed();
            while let Some((part, came)) = arrivals.next_if(|(_, came)| *came <= now) {
                let (class, request) = request(part);
                let (clients, answers) = (clients.clone(), answers.clone());
                sent.spawn_local(async move {
                    let due = begun + came;
                    let late = milliseconds(due.elapsed());
                    let outcome = clients.ask(&request).await;
                    let (came, took) = (came.as_secs_f64(), milliseconds(due.elapsed()));
                    answers.borrow_mut()[part].push(Answer { class, came, late, took, outcome });
                });
            }
            while sent.try_join_next().is_some() {}
        }
        while sent.join_next().await.is_some() {}
    };
    LocalSet::new().run_until(send).await;
    answers.take()
}

/// Connections, of which those that wait for no answer are used again.
struct Clients {
    port: u16,
    idle: RefCell<Vec<Connection>>,
    asking: Cell<usize>,
}

impl Clients {
    async fn ask(&self, request: &Request) -> Outcome {
        if self.asking.get() >= MOST_CONNECTIONS {
            return Outcome::Failed("found no connection");
        }
        self.asking.set(self.asking.get() + 1);
        let outcome = timeout(GIVES_UP, self.answer(request)).await;
        self.asking.set(self.asking.get() - 1);
        outcome.unwrap_or(Outcome::Failed("gave up"))
    }

    async fn answer(&self, request: &Request) -> Outcome {
        let idle = self.idle.borrow_mut().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => match Connection::open(self.port).await {
                Ok(connection) => connection,
                Err(_) => return Outcome::Failed("could not connect"),
            },
        };
        let Ok(response) = connection.glance(request).await else {
            return Outcome::Failed("was cut off");
        };
        self.idle.borrow_mut().push(connection);
        Outcome::of(&response)
    }
}

/// The least time in which so large a share of them came to their end, in milliseconds.
pub fn within<C>(answers: &[&Answer<C>], share: f64, what: impl Fn(&Answer<C>) -> f64) -> f64 {
    let mut took: Vec<f64> = answers.iter().map(|answer| what(answer)).collect();
    took.sort_by(f64::total_cmp);
    percentile(&took, share)
}

/// How many seconds after `since` a server has recovered: from then on and for two seconds, nobody
/// is turned away or fails, and of those who come within a quarter of a second, 99 % wait for
/// `long` milliseconds at most. `None` if that is not so before `until`.
pub fn recovered<C>(answers: &[Answer<C>], since: f64, until: f64, long: f64) -> Option<f64> {
    let mut windows = vec![Vec::new(); ((until - since) / WINDOW) as usize];
    for answer in answers.iter().filter(|answer| answer.came >= since) {
        if let Some(window) = windows.get_mut(((answer.came - since) / WINDOW) as usize) {
            window.push(answer);
        }
    }
    let is_well = |window: &Vec<&Answer<C>>| {
        let took = within(window, 0.99, |answer| answer.took);
        window.iter().all(|answer| answer.outcome.is_answer())
            && (window.is_empty() || took <= long)
    };
    let well: Vec<bool> = windows.iter().map(is_well).collect();
    let first = well.windows(WELL).position(|windows| windows.iter().all(|is_well| *is_well))?;
    Some(first as f64 * WINDOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(came: f64, took: f64, outcome: Outcome) -> Answer<()> {
        Answer { class: (), came, late: 0.0, took, outcome }
    }

    /// Ten a second, from 10 s to 20 s; those between the two take long, or have that outcome.
    fn ailing(from: f64, to: f64, took: f64, outcome: Outcome) -> Vec<Answer<()>> {
        let times = (0..100).map(|number| 10.0 + f64::from(number) / 10.0);
        let ails = |came: f64| (from..to).contains(&came);
        let (took, outcome) = (
            move |came| if ails(came) { took } else { 5.0 },
            move |came| if ails(came) { outcome } else { Outcome::Served },
        );
        times.map(|came| answer(came, took(came), outcome(came))).collect()
    }

    fn recovered_after(answers: &[Answer<()>]) -> Option<f64> {
        recovered(answers, 10.0, 20.0, 50.0)
    }

    #[test]
    fn requests_come_evenly_and_parts_follow_each_other() {
        let second = Duration::from_secs(1);
        let parts = [Part { rate: 4.0, time: second }, Part { rate: 2.0, time: 2 * second }];
        let arrivals: Vec<_> = arrivals(&parts).map(|(part, at)| (part, at.as_millis())).collect();
        let first = [0, 250, 500, 750].map(|at| (0, at));
        let second = [1_000, 1_500, 2_000, 2_500].map(|at| (1, at));
        assert_eq!(arrivals, [first, second].concat());
    }

    #[test]
    fn a_server_has_recovered_when_nobody_is_kept_waiting_any_more() {
        assert_eq!(recovered_after(&ailing(0.0, 0.0, 5.0, Outcome::Served)), Some(0.0));
        assert_eq!(recovered_after(&ailing(10.0, 12.1, 80.0, Outcome::Served)), Some(2.25));
        assert_eq!(recovered_after(&ailing(10.0, 12.1, 50.0, Outcome::Served)), Some(0.0));
        let turned_away = Outcome::TurnedAway { wait: Some(3), is_overloaded: true };
        assert_eq!(recovered_after(&ailing(10.0, 11.0, 5.0, turned_away)), Some(1.0));
        assert_eq!(recovered_after(&ailing(10.0, 11.0, 5.0, Outcome::Declined)), Some(0.0));
    }

    #[test]
    fn a_server_that_ails_again_within_two_seconds_had_not_recovered() {
        let failed = Outcome::Failed("gave up");
        assert_eq!(recovered_after(&ailing(11.0, 11.2, 5.0, failed)), Some(1.25));
        assert_eq!(recovered_after(&ailing(13.0, 13.2, 5.0, failed)), Some(0.0));
        assert_eq!(recovered_after(&ailing(10.0, 18.5, 5.0, failed)), None);
    }
}
