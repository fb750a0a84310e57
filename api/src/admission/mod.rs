//! Who is served when more is asked for than this process can do: as many requests and commands as
//! it can serve in time ([`limit`]), some more that wait for a moment, what is urgent first, and
//! nobody else. The others are told at once to come again, each at another time
//! (docs/overload.md).

mod limit;

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};

use futures_util::poll;
use nexus_common::{Error, Result, observability::metrics};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use self::limit::{KEEPS, Limit};
use crate::http::policy::Priority;

/// How long a request waits for its place, at most.
const PATIENCE: Duration = Duration::from_millis(30);
/// How often the log says that requests are turned away.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Of so many places, one goes to the least urgent that waits: nobody is left out for ever.
const FOR_THE_LAST: u64 = 16;

tokio::task_local! {
    /// The place of the request that this task serves.
    static PLACE: Arc<Place>;
}

/// Lets requests in. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    requests: Arc<Mutex<Requests>>,
    patience: Duration,
}

#[derive(Debug)]
struct Requests {
    limit: Limit,
    in_service: usize,
    /// By priority.
    waiting: [VecDeque<oneshot::Sender<Place>>; Priority::ALL.len()],
    /// How many places have been given to requests that waited.
    given: u64,
    /// How many requests have been turned away since the log said so, and when that was.
    turned_away: u64,
    told: Option<Instant>,
}

impl Gate {
    /// At most `most` requests at once, and fewer where they take longer than `target`.
    pub(crate) fn new(most: usize, target: Duration) -> Self {
        for priority in Priority::ALL {
            // So that the first of them is seen as an increase.
            metrics::turned_away(priority.name(), 0);
        }
        let requests = Requests {
            limit: Limit::new(most, target, Instant::now()),
            in_service: 0,
            waiting: Default::default(),
            given: 0,
            turned_away: 0,
            told: None,
        };
        Gate { requests: Arc::new(Mutex::new(requests)), patience: PATIENCE }
    }

    /// Admits a request or a command if there is a place for it, or soon will be:
    /// [`Error::Overloaded`] otherwise.
    pub(crate) async fn admit(&self, priority: Priority) -> Result<Admitted> {
        match self.place(priority).await {
            Some(place) => Ok(Admitted(place)),
            None => {
                metrics::turned_away(priority.name(), 1);
                self.requests().tell();
                Err(Error::overloaded())
            }
        }
    }

    /// How many requests may be in service at once, how many are, and how many wait.
    pub(crate) fn load(&self) -> (usize, usize, usize) {
        let requests = self.requests();
        (requests.limit.now(), requests.in_service, requests.waiting())
    }

    async fn place(&self, priority: Priority) -> Option<Place> {
        let waiting = {
            let mut requests = self.requests();
            if requests.in_service < requests.limit.now() {
                return Some(requests.enter(self));
            }
            requests.wait(priority)?
        };
        timeout(self.patience, waiting).await.ok()?.ok()
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request's place goes to the next one.
    fn leave(&self, left: Left) {
        let mut requests = self.requests();
        // Nobody enters while there are more than there may be, so that is seen here, too.
        let in_service = requests.in_service;
        requests.limit.reached(in_service);
        requests.in_service -= 1;
        match left {
            Left::Served(took) => requests.limit.served(Some(took), Instant::now()),
            Left::Stuck => requests.limit.served(None, Instant::now()),
            Left::Away => {}
        }
        while requests.in_service < requests.limit.now()
            && let Some(next) = requests.next()
        {
            let place = requests.enter(self);
            if let Err(place) = next.send(place) {
                // It has gone meanwhile. Its place must not be dropped: that would come here again.
                place.forget();
                requests.in_service -= 1;
            }
        }
    }
}

impl Requests {
    fn enter(&mut self, gate: &Gate) -> Place {
        self.in_service += 1;
        self.limit.reached(self.in_service);
        let stay = Stay { since: Some(Instant::now()), ..Stay::default() };
        Place { gate: gate.clone(), stay: Mutex::new(stay) }
    }

    fn waiting(&self) -> usize {
        self.waiting.iter().map(VecDeque::len).sum()
    }

    /// Lets a request wait, unless as many wait already as are served. Then a less urgent one has
    /// waited in vain.
    fn wait(&mut self, priority: Priority) -> Option<oneshot::Receiver<Place>> {
        for line in &mut self.waiting {
            // Whoever came first has lost patience first.
            while line.pop_front_if(|waiter| waiter.is_closed()).is_some() {}
        }
        if self.waiting() >= self.limit.now() {
            let less_urgent = &mut self.waiting[priority as usize + 1..];
            less_urgent.iter_mut().rev().find_map(VecDeque::pop_back)?;
        }
        let (sender, receiver) = oneshot::channel();
        self.waiting[priority as usize].push_back(sender);
        Some(receiver)
    }

    /// Notes that a request is turned away; the log has a line for many of them.
    fn tell(&mut self) {
        self.turned_away += 1;
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            tracing::warn!(
                requests = self.turned_away,
                limit = self.limit.now(),
                "turned away: there is too much to do"
            );
            (self.turned_away, self.told) = (0, Some(Instant::now()));
        }
    }

    fn next(&mut self) -> Option<oneshot::Sender<Place>> {
        self.given += 1;
        match self.given.is_multiple_of(FOR_THE_LAST) {
            true => self.waiting.iter_mut().rev().find_map(VecDeque::pop_front),
            false => self.waiting.iter_mut().find_map(VecDeque::pop_front),
        }
    }
}

/// A request that may be served now.
#[derive(Debug)]
#[must_use]
pub(crate) struct Admitted(Place);

impl Admitted {
    /// Serves it.
    pub(crate) async fn serve<T>(self, work: impl Future<Output = T>) -> T {
        let place = Arc::new(self.0);
        let mut work = pin!(PLACE.scope(place.clone(), work));
        loop {
            tokio::select! {
                biased;
                done = work.as_mut() => return done,
                () = sleep(KEEPS) => {
                    // Or it waits for somebody else just now, and is looked at again.
                    if place.leave(|_| Left::Stuck) {
                        return work.await;
                    }
                }
            }
        }
    }
}

/// Why a request's place is free.
enum Left {
    /// In that time.
    Served(Duration),
    /// It waits for somebody else, and will come back.
    Away,
    /// It waits for nobody knows what.
    Stuck,
}

/// A request's place among those that are in service, until dropped.
#[derive(Debug)]
struct Place {
    gate: Gate,
    stay: Mutex<Stay>,
}

#[derive(Debug, Default)]
struct Stay {
    /// `None` while the request has no place.
    since: Option<Instant>,
    /// Before that.
    served: Duration,
}

impl Place {
    fn stay(&self) -> MutexGuard<'_, Stay> {
        self.stay.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the place to another request, if this one has it.
    fn leave(&self, why: impl FnOnce(Duration) -> Left) -> bool {
        let left = {
            let mut stay = self.stay();
            let Some(since) = stay.since.take() else { return false };
            stay.served += since.elapsed();
            why(stay.served)
        };
        self.gate.leave(left);
        true
    }

    /// The request goes on, whether or not there is room: it has begun.
    fn come_back(&self) {
        self.gate.requests().in_service += 1;
        self.stay().since = Some(Instant::now());
    }

    /// It was never taken.
    fn forget(self) {
        self.stay().since = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave(Left::Served);
    }
}

/// Work that goes on in a task of its own has the caller's place, too, for as long as it takes.
pub(crate) fn carried<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let place = PLACE.try_with(Arc::clone).ok();
    async {
        match place {
            Some(place) => PLACE.scope(place, work).await,
            None => work.await,
        }
    }
}

/// Waits for somebody else: a provider, or a client that is still sending. Meanwhile another request
/// may have the caller's place.
pub(crate) async fn away<T>(wait: impl Future<Output = T>) -> T {
    let mut wait = pin!(wait);
    if let Poll::Ready(came) = poll!(wait.as_mut()) {
        return came;
    }
    let Ok(place) = PLACE.try_with(Arc::clone) else { return wait.await };
    let has_left = place.leave(|_| Left::Away);
    let came = wait.await;
    if has_left {
        place.come_back();
    }
    came
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::{limit::LEAST, *};

    const FOR_EVER: Duration = Duration::from_secs(3_600);

    /// Requests never take too long for it, and never lose patience.
    fn gate() -> Gate {
        Gate { patience: FOR_EVER, ..Gate::new(LEAST, FOR_EVER) }
    }

    async fn fill(gate: &Gate) -> Vec<Admitted> {
        let mut admitted = Vec::new();
        for _ in 0..LEAST {
            admitted.push(gate.admit(Priority::Browse).await.expect("a place"));
        }
        admitted
    }

    type Waiting = tokio::task::JoinHandle<Result<Admitted>>;

    async fn wait(gate: &Gate, priority: Priority) -> Waiting {
        let gate = gate.clone();
        let waiting = tokio::spawn(async move { gate.admit(priority).await });
        tokio::task::yield_now().await;
        waiting
    }

    #[tokio::test]
    async fn who_finds_no_place_waits_for_a_moment_and_is_told_when_to_come_again() {
        let gate = Gate::new(LEAST, FOR_EVER);
        let _admitted = fill(&gate).await;
        let began = Instant::now();
        let Err(Error::Overloaded(after)) = gate.admit(Priority::Pay).await else {
            panic!("admitted")
        };
        assert!(began.elapsed() >= PATIENCE);
        assert!((2..=10).contains(&after.as_secs()));
    }

    #[tokio::test]
    async fn a_place_goes_to_the_most_urgent_that_waits() {
        let gate = gate();
        let mut admitted = fill(&gate).await;
        let browsing = wait(&gate, Priority::Browse).await;
        let buying = wait(&gate, Priority::Buy).await;
        let paying = wait(&gate, Priority::Pay).await;
        admitted.pop();
        let _first = paying.await.unwrap().expect("a place");
        admitted.pop();
        let _second = buying.await.unwrap().expect("a place");
        assert!(!browsing.is_finished());
    }

    #[tokio::test]
    async fn where_too_many_wait_the_urgent_waits_instead_of_who_only_looks_around() {
        let gate = gate();
        let mut admitted = fill(&gate).await;
        let mut browsing = Vec::new();
        for _ in 0..LEAST {
            browsing.push(wait(&gate, Priority::Browse).await);
        }
        let one_more = gate.admit(Priority::Browse).now_or_never();
        assert!(matches!(one_more, Some(Err(_))), "refused at once");
        let paying = wait(&gate, Priority::Pay).await;
        let last = browsing.pop().unwrap();
        last.await.unwrap().expect_err("no place");
        admitted.pop();
        drop(paying.await.unwrap().expect("a place"));
    }

    #[tokio::test]
    async fn nobody_is_left_out_for_ever() {
        let gate = gate();
        let mut admitted = fill(&gate).await;
        let browsing = wait(&gate, Priority::Browse).await;
        let mut paying = Vec::new();
        for _ in 0..FOR_THE_LAST {
            paying.push(wait(&gate, Priority::Pay).await);
            admitted.pop();
            tokio::task::yield_now().await;
        }
        drop(browsing.await.unwrap().expect("a place"));
    }

    #[tokio::test]
    async fn who_waits_for_somebody_else_leaves_the_place_to_another_and_comes_back() {
        let gate = gate();
        let mut admitted = fill(&gate).await;
        let (arrive, arrived) = oneshot::channel::<()>();
        let one = admitted.pop().unwrap();
        let away = tokio::spawn(one.serve(async { away(arrived).await }));
        let other = gate.admit(Priority::Browse).await.expect("its place");
        arrive.send(()).unwrap();
        away.await.unwrap().unwrap();
        assert_eq!(gate.load(), (LEAST, LEAST, 0));
        drop(other);
        assert_eq!(gate.load(), (LEAST, LEAST - 1, 0));
    }

    #[tokio::test]
    async fn a_request_that_is_stuck_loses_its_place_and_is_served_all_the_same() {
        let gate = gate();
        let mut admitted = fill(&gate).await;
        let stuck = admitted.pop().unwrap();
        let stuck = tokio::spawn(stuck.serve(tokio::time::sleep(3 * KEEPS)));
        tokio::time::sleep(KEEPS).await;
        let _place = gate.admit(Priority::Browse).await.expect("its place");
        stuck.await.unwrap();
        assert_eq!(gate.load(), (LEAST, LEAST, 0));
    }

    #[tokio::test]
    async fn a_request_that_is_stuck_after_it_has_come_back_loses_its_place_too() {
        let gate = gate();
        let mut admitted = fill(&gate).await;
        let stuck = admitted.pop().unwrap();
        let stuck = tokio::spawn(stuck.serve(async {
            away(sleep(KEEPS + KEEPS / 2)).await;
            std::future::pending::<()>().await;
        }));
        let other = gate.admit(Priority::Browse).await.expect("its place");
        sleep(2 * KEEPS).await;
        drop(other);
        let again = timeout(20 * KEEPS, gate.admit(Priority::Browse)).await;
        let _place = again.expect("its place, soon").expect("its place, again");
        assert!(!stuck.is_finished());
        stuck.abort();
    }

    #[tokio::test]
    async fn a_request_whose_client_has_gone_leaves_its_place() {
        let gate = gate();
        let admitted = fill(&gate).await;
        let gone = wait(&gate, Priority::Buy).await;
        gone.abort();
        let _ = gone.await;
        drop(admitted);
        assert_eq!(gate.load(), (LEAST, 0, 0));
    }
}
