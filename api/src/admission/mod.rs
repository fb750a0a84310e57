//! Who is served when more is asked for than this process can do: as many requests and commands as
//! it can serve in time ([`limit`]), some more that wait for a moment, what is urgent first, and
//! nobody else. The others are told at once to come again, each at another time
//! (docs/overload.md).

mod limit;
mod lines;

use std::{
    collections::{HashMap, hash_map::Entry},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};

use futures_util::poll;
use nexus_common::{Error, Result, observability::metrics};
use tokio::time::{sleep, timeout};

use self::{
    limit::{KEEPS, Limit},
    lines::{Lines, Waiter},
};
use crate::http::{client_ip::Network, policy::Priority};

/// How long a request waits for its place, at most.
const PATIENCE: Duration = Duration::from_millis(30);
/// How often the log says that requests are turned away.
const TELL_EVERY: Duration = Duration::from_secs(10);
tokio::task_local! {
    /// The place of the request that this task serves.
    static PLACE: Arc<Place>;
}

/// Who asks for a place: from where, and how urgently.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) from: Network,
    pub(crate) priority: Priority,
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
    /// The same by where they come from.
    served_from: HashMap<Network, usize>,
    waiting: Lines,
    /// How many requests have been turned away since the log said so, and when that was.
    turned_away: u64,
    buyers_turned_away: u64,
    told: Option<Instant>,
}

impl Gate {
    /// At most `most` requests at once, and fewer where they take longer than `target`
    /// ([`Limit::new`]).
    pub(crate) fn new(most: usize, target: Duration) -> Self {
        for priority in Priority::ALL {
            // So that the first of them is seen as an increase.
            metrics::turned_away(priority.name(), 0);
        }
        let requests = Requests {
            limit: Limit::new(most, target, Instant::now()),
            in_service: 0,
            served_from: HashMap::new(),
            waiting: Lines::default(),
            turned_away: 0,
            buyers_turned_away: 0,
            told: None,
        };
        Gate { requests: Arc::new(Mutex::new(requests)), patience: PATIENCE }
    }

    /// Admits a request or a command if there is a place for it, or soon will be:
    /// [`Error::Overloaded`] otherwise.
    pub(crate) async fn admit(&self, asker: Asker) -> Result<Admitted> {
        match self.place(asker).await {
            Some(place) => Ok(Admitted(place)),
            None => Err(self.turn_away(asker.priority)),
        }
    }

    /// Counts a request or a command that is turned away. The log has a line for many of them.
    pub(crate) fn turn_away(&self, priority: Priority) -> Error {
        metrics::turned_away(priority.name(), 1);
        let told = self.requests().count_turned_away(priority);
        if let Some((requests, limit)) = told {
            tracing::warn!(requests, limit, "turned away: there is too much to do");
        }
        Error::overloaded()
    }

    /// How many requests may be in service at once, how many are, and how many wait.
    pub(crate) fn load(&self) -> (usize, usize, usize) {
        let requests = self.requests();
        (requests.limit.now(), requests.in_service, requests.waiting.len())
    }

    /// How many buyers have been turned away since this was last asked.
    pub(crate) fn take_buyers_turned_away(&self) -> u64 {
        std::mem::take(&mut self.requests().buyers_turned_away)
    }

    /// How long it takes just now to ask PostgreSQL anything.
    pub(crate) fn database_answered(&self, took: Duration) {
        self.requests().limit.database_answered(took);
    }

    async fn place(&self, asker: Asker) -> Option<Place> {
        let waiting = {
            let mut requests = self.requests();
            if requests.in_service < requests.limit.now() {
                return Some(requests.enter(self, asker));
            }
            let most = requests.limit.now();
            requests.waiting.join(asker, most)?
        };
        timeout(self.patience, waiting).await.ok()?.ok()
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request's place goes to the next one.
    fn leave(&self, asker: Asker, left: Left) {
        let mut requests = self.requests();
        // Nobody enters while there are more than there may be, so that is seen here, too.
        let in_service = requests.in_service;
        requests.limit.reached(in_service);
        requests.remove(asker);
        match left {
            Left::Served(took) => requests.limit.served(Some(took), Instant::now()),
            Left::Stuck => requests.limit.served(None, Instant::now()),
            Left::Away => {}
        }
        while requests.in_service < requests.limit.now()
            && let Some(next) = requests.next()
        {
            let asker = next.asker;
            let place = requests.enter(self, asker);
            if let Err(place) = next.place.send(place) {
                // It has gone meanwhile. Its place must not be dropped: that would come here again.
                place.forget();
                requests.remove(asker);
            }
        }
    }
}

impl Requests {
    fn enter(&mut self, gate: &Gate, asker: Asker) -> Place {
        self.add(asker);
        self.limit.reached(self.in_service);
        let stay = Stay { since: Some(Instant::now()), ..Stay::default() };
        Place { gate: gate.clone(), asker, stay: Mutex::new(stay) }
    }

    fn add(&mut self, asker: Asker) {
        self.in_service += 1;
        *self.served_from.entry(asker.from).or_default() += 1;
    }

    fn remove(&mut self, asker: Asker) {
        self.in_service -= 1;
        if let Entry::Occupied(mut served) = self.served_from.entry(asker.from) {
            *served.get_mut() -= 1;
            if *served.get() == 0 {
                served.remove();
            }
        }
    }

    fn next(&mut self) -> Option<Waiter> {
        let served_from = &self.served_from;
        self.waiting.next(|from| served_from.get(&from).copied().unwrap_or_default())
    }

    /// One more has been turned away: how many have been since the log said so, and the limit, if
    /// it shall say so again.
    fn count_turned_away(&mut self, priority: Priority) -> Option<(u64, usize)> {
        self.buyers_turned_away += u64::from(priority <= Priority::Buy);
        self.turned_away += 1;
        if self.told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return None;
        }
        self.told = Some(Instant::now());
        Some((std::mem::take(&mut self.turned_away), self.limit.now()))
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
                done = work.as_mut() => {
                    place.leave(Left::Served);
                    return done;
                }
                // Again and again for one that waits for somebody else meanwhile.
                () = sleep(place.keeps()) => {
                    if place.keeps().is_zero() {
                        place.leave(|_| Left::Stuck);
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
    /// It waits for somebody else, and will come back; or nobody waits for it any more.
    Away,
    /// It waits for nobody knows what.
    Stuck,
}

/// A request's place among those that are in service, until dropped.
#[derive(Debug)]
struct Place {
    gate: Gate,
    asker: Asker,
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
        self.gate.leave(self.asker, left);
        true
    }

    /// How much longer the request may keep it. [`KEEPS`] while it has none.
    fn keeps(&self) -> Duration {
        let since = self.stay().since;
        since.map_or(KEEPS, |since| KEEPS.saturating_sub(since.elapsed()))
    }

    /// The request goes on, whether or not there is room: it has begun.
    fn come_back(&self) {
        self.gate.requests().add(self.asker);
        self.stay().since = Some(Instant::now());
    }

    /// The request asks again: nothing has been done for it.
    async fn ask_again(&self) -> Result<()> {
        let Admitted(place) = self.gate.admit(self.asker).await?;
        place.forget();
        self.stay().since = Some(Instant::now());
        Ok(())
    }

    /// It was never taken.
    fn forget(self) {
        self.stay().since = None;
    }
}

impl Drop for Place {
    /// A request that was served has left before.
    fn drop(&mut self) {
        self.leave(|_| Left::Away);
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

/// Waits for somebody else, a provider for example. Meanwhile another request may have the caller's
/// place.
pub(crate) async fn away<T>(wait: impl Future<Output = T>) -> T {
    let (came, left) = leaving(wait).await;
    if let Some(place) = left {
        place.come_back();
    }
    came
}

/// Waits for a client that is still sending. Meanwhile another request may have the caller's place,
/// who asks for one again.
pub(crate) async fn receive<T>(sent: impl Future<Output = T>) -> Result<T> {
    let (came, left) = leaving(sent).await;
    if let Some(place) = left {
        place.ask_again().await?;
    }
    Ok(came)
}

/// What comes, and the place that the caller has left meanwhile.
async fn leaving<T>(wait: impl Future<Output = T>) -> (T, Option<Arc<Place>>) {
    let mut wait = pin!(wait);
    if let Poll::Ready(came) = poll!(wait.as_mut()) {
        return (came, None);
    }
    let place = PLACE.try_with(Arc::clone).ok();
    let left = place.filter(|place| place.leave(|_| Left::Away));
    (wait.await, left)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use std::net::{IpAddr, Ipv4Addr};

    use tokio::sync::oneshot;

    use super::{limit::LEAST, lines::FOR_THE_LAST, *};
    use crate::http::client_ip::ClientIp;

    const FOR_EVER: Duration = Duration::from_secs(3_600);

    /// Requests never take too long for it, and never lose patience.
    fn gate() -> Gate {
        Gate { patience: FOR_EVER, ..Gate::new(LEAST, FOR_EVER) }
    }

    /// Somebody from the network of that number.
    fn from(number: u8, priority: Priority) -> Asker {
        let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, number));
        Asker { from: ClientIp::peer(address).network(), priority }
    }

    fn asker(priority: Priority) -> Asker {
        from(1, priority)
    }

    async fn fill(gate: &Gate) -> Vec<Admitted> {
        let mut admitted = Vec::new();
        for _ in 0..LEAST {
            admitted.push(gate.admit(asker(Priority::Browse)).await.expect("a place"));
        }
        admitted
    }

    type Waiting = tokio::task::JoinHandle<Result<Admitted>>;

    async fn wait(gate: &Gate, priority: Priority) -> Waiting {
        wait_from(1, gate, priority).await
    }

    async fn wait_from(number: u8, gate: &Gate, priority: Priority) -> Waiting {
        let gate = gate.clone();
        let waiting = tokio::spawn(async move { gate.admit(from(number, priority)).await });
        tokio::task::yield_now().await;
        waiting
    }

    #[tokio::test]
    async fn who_finds_no_place_waits_for_a_moment_and_is_told_when_to_come_again() {
        let gate = Gate::new(LEAST, FOR_EVER);
        let _admitted = fill(&gate).await;
        let began = Instant::now();
        let Err(Error::Overloaded(after)) = gate.admit(asker(Priority::Pay)).await else {
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
        let one_more = gate.admit(asker(Priority::Browse)).now_or_never();
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
        let other = gate.admit(asker(Priority::Browse)).await.expect("its place");
        arrive.send(()).unwrap();
        away.await.unwrap().unwrap();
        assert_eq!(gate.load(), (LEAST, LEAST, 0));
        drop(other);
        assert_eq!(gate.load(), (LEAST, LEAST - 1, 0));
    }

    #[tokio::test]
    async fn among_the_equally_urgent_who_comes_from_where_the_fewest_are_served_is_next() {
        let gate = gate();
        let mut admitted = fill(&gate).await;
        let crowd = wait(&gate, Priority::Buy).await;
        let alone = wait_from(2, &gate, Priority::Buy).await;
        admitted.pop();
        let _place = alone.await.unwrap().expect("a place");
        assert!(!crowd.is_finished());
    }

    #[tokio::test]
    async fn a_crowd_from_one_network_leaves_room_to_wait_for_others() {
        let gate = gate();
        let mut admitted = fill(&gate).await;
        let mut crowd = Vec::new();
        for _ in 0..LEAST {
            crowd.push(wait(&gate, Priority::Buy).await);
        }
        let alone = wait_from(2, &gate, Priority::Buy).await;
        let last = crowd.pop().unwrap();
        last.await.unwrap().expect_err("no place");
        admitted.pop();
        drop(alone.await.unwrap().expect("a place"));
    }

    #[tokio::test]
    async fn who_has_only_now_sent_everything_asks_for_a_place_again() {
        let gate = Gate::new(LEAST, FOR_EVER);
        let mut admitted = fill(&gate).await;
        let (send, sent) = oneshot::channel::<()>();
        let one = admitted.pop().unwrap();
        let sending = tokio::spawn(one.serve(async { receive(sent).await }));
        let other = gate.admit(asker(Priority::Browse)).await.expect("its place");
        send.send(()).unwrap();
        assert!(matches!(sending.await.unwrap(), Err(Error::Overloaded(_))));
        assert_eq!(gate.load().1, LEAST);
        drop(other);
    }

    #[tokio::test]
    async fn who_has_sent_everything_and_finds_a_place_goes_on() {
        let gate = gate();
        let (send, sent) = oneshot::channel::<()>();
        let one = gate.admit(asker(Priority::Browse)).await.expect("a place");
        let sending = tokio::spawn(one.serve(async { receive(sent).await }));
        tokio::task::yield_now().await;
        assert_eq!(gate.load(), (LEAST, 0, 0));
        send.send(()).unwrap();
        sending.await.unwrap().expect("a place").unwrap();
        assert_eq!(gate.load(), (LEAST, 0, 0));
    }

    #[tokio::test]
    async fn a_request_that_is_stuck_loses_its_place_and_is_served_all_the_same() {
        let gate = gate();
        let mut admitted = fill(&gate).await;
        let stuck = admitted.pop().unwrap();
        let stuck = tokio::spawn(stuck.serve(tokio::time::sleep(3 * KEEPS)));
        tokio::time::sleep(KEEPS).await;
        let _place = gate.admit(asker(Priority::Browse)).await.expect("its place");
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
        let other = gate.admit(asker(Priority::Browse)).await.expect("its place");
        sleep(2 * KEEPS).await;
        drop(other);
        let again = timeout(20 * KEEPS, gate.admit(asker(Priority::Browse))).await;
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
