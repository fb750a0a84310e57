//! How many requests this process can serve at once before they get into each other's way. Nobody
//! can know: it depends on the machine, on what the requests ask for, and on PostgreSQL. So it is
//! found out from how long they take, ten times a second.

use std::time::{Duration, Instant};

/// What every process can serve at once.
pub(super) const LEAST: usize = 16;
/// How often it is looked at how long requests take.
const WINDOW: Duration = Duration::from_millis(100);
/// So many requests say how things are.
const ENOUGH: u32 = 20;
/// So many that were served say how long they take, however many others are stuck: those wait for
/// something of their own, an event that is held for example.
const FEW: u32 = 5;
/// Until it is known how long requests take.
const AT_FIRST: usize = 16 * LEAST;
/// As long as PostgreSQL takes for so many answers, a request may take, where that is longer than
/// the target: each asks a few times, and may take three times as long under load.
const ANSWERS: u32 = 12;
/// A request that has taken longer waits for something else than this process, and leaves its place
/// to another.
pub(super) const KEEPS: Duration = Duration::from_millis(500);

/// The number, and what is known of the requests since it was last looked at.
#[derive(Debug)]
pub(super) struct Limit {
    most: usize,
    target: Duration,
    now: usize,
    /// How long PostgreSQL takes for an answer when it has nothing else to do.
    answer: Duration,
    window: Window,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    served: u32,
    took: Duration,
    /// Requests that have left their places.
    stuck: u32,
    /// How many were in service at once.
    peak: usize,
}

impl Window {
    fn new(began: Instant) -> Self {
        Window { began, served: 0, took: Duration::ZERO, stuck: 0, peak: 0 }
    }

    /// The mean of those that were served; none if hardly any was.
    fn mean(&self) -> Option<Duration> {
        (self.served >= FEW).then(|| self.took / self.served)
    }
}

impl Limit {
    /// No more than `most`, and fewer where they would take longer than `target`, in the mean. None
    /// has its place for longer than [`KEEPS`]: with such a target, there are always `most`.
    pub(super) fn new(most: usize, target: Duration, now: Instant) -> Self {
        let most = most.max(LEAST);
        let at_first = if target < KEEPS { most.min(AT_FIRST) } else { most };
        Limit { most, target, now: at_first, answer: Duration::ZERO, window: Window::new(now) }
    }

    /// How many requests may be in service at once.
    pub(super) fn now(&self) -> usize {
        self.now
    }

    /// So many are in service.
    pub(super) fn reached(&mut self, in_service: usize) {
        self.window.peak = self.window.peak.max(in_service);
    }

    /// How long PostgreSQL took for an answer, which is asked once a second. Believed at once if it
    /// is less than before, and slowly if it is more: that is the load.
    pub(super) fn database_answered(&mut self, took: Duration) {
        let before = if self.answer.is_zero() { took } else { self.answer + self.answer / 200 };
        self.answer = took.min(before);
    }

    /// A request has been served; `None`: it has been given up, stuck.
    pub(super) fn served(&mut self, took: Option<Duration>, now: Instant) {
        match took {
            Some(took) => {
                self.window.served += 1;
                self.window.took += took;
            }
            None => self.window.stuck += 1,
        }
        let is_over = now.saturating_duration_since(self.window.began) >= WINDOW;
        if is_over && self.window.served + self.window.stuck >= ENOUGH {
            self.adapt();
            self.window = Window::new(now);
        }
    }

    fn adapt(&mut self) {
        if self.target >= KEEPS {
            return;
        }
        let peak = self.window.peak;
        let Some(mean) = self.window.mean() else {
            self.now = (self.now / 2).max(LEAST);
            return;
        };
        let target = self.target.max(ANSWERS * self.answer);
        // Where most places are free, it is not that others are in the way.
        if mean > target && 4 * peak >= self.now {
            // By Little's law: at the present rate, so many are in service if each takes as long as
            // it should.
            let share = target.as_secs_f64() / mean.as_secs_f64();
            let fitting = (peak as f64 * share) as usize;
            self.now = fitting.clamp(self.now / 2, self.now).max(LEAST);
        } else if mean <= target && peak >= self.now {
            let more = if 2 * mean < target { self.now / 4 } else { self.now / 16 };
            self.now = (self.now + more.max(2)).min(self.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(50);

    /// A second of a service that answers `rate` requests a second, whose clients always keep it as
    /// busy as it lets them, and that takes `alone` for each of them at least.
    fn second(limit: &mut Limit, now: &mut Instant, rate: u32, offered: usize, alone: Duration) {
        let until = *now + Duration::from_secs(1);
        while *now < until {
            let in_service = offered.min(limit.now());
            limit.reached(in_service);
            *now += Duration::from_secs(1) / rate;
            limit.served(Some(alone.max(in_service as u32 * Duration::from_secs(1) / rate)), *now);
        }
    }

    fn limit() -> (Limit, Instant) {
        let now = Instant::now();
        (Limit::new(1_000, TARGET, now), now)
    }

    #[test]
    fn as_many_are_served_as_are_served_in_time() {
        let (mut limit, mut now) = limit();
        second(&mut limit, &mut now, 2_000, 5_000, Duration::ZERO);
        // 100 of them take 50 ms at 2,000 a second.
        assert!((90..=110).contains(&limit.now()), "{}", limit.now());
    }

    #[test]
    fn a_process_that_starts_into_the_rush_finds_out_how_many_it_can_serve() {
        let (mut limit, mut now) = limit();
        assert_eq!(limit.now(), AT_FIRST);
        second(&mut limit, &mut now, 10_000, 5_000, Duration::from_millis(10));
        second(&mut limit, &mut now, 10_000, 5_000, Duration::from_millis(10));
        assert!((450..=550).contains(&limit.now()), "{}", limit.now());
    }

    #[test]
    fn a_service_that_has_recovered_serves_as_many_as_before_within_two_seconds() {
        let (mut limit, mut now) = limit();
        for _ in 0..200 {
            now += Duration::from_millis(10);
            limit.reached(500);
            limit.served(None, now);
        }
        assert_eq!(limit.now(), LEAST);
        second(&mut limit, &mut now, 2_000, 5_000, Duration::ZERO);
        second(&mut limit, &mut now, 2_000, 5_000, Duration::ZERO);
        assert!(limit.now() >= 80, "{}", limit.now());
    }

    #[test]
    fn those_that_are_stuck_are_no_reason_to_serve_fewer_of_those_that_are_not() {
        let (mut limit, mut now) = limit();
        for _ in 0..1_000 {
            now += Duration::from_millis(10);
            limit.reached(100);
            limit.served(None, now);
            limit.served(None, now);
            limit.served(Some(Duration::from_millis(5)), now);
        }
        assert_eq!(limit.now(), AT_FIRST);
    }

    #[test]
    fn few_requests_leave_the_limit_alone() {
        let (mut limit, mut now) = limit();
        second(&mut limit, &mut now, 500, 4, Duration::from_millis(200));
        assert_eq!(limit.now(), AT_FIRST);
    }

    #[test]
    fn what_is_slow_by_nature_is_no_overload_while_most_places_are_free() {
        let (mut limit, mut now) = limit();
        second(&mut limit, &mut now, 500, 30, Duration::from_millis(60));
        assert_eq!(limit.now(), AT_FIRST);
    }

    #[test]
    fn a_database_that_is_far_away_is_no_overload() {
        let (mut limit, mut now) = limit();
        let far = Duration::from_millis(60);
        limit.database_answered(far / 5);
        second(&mut limit, &mut now, 5_000, 600, far);
        second(&mut limit, &mut now, 5_000, 600, far);
        assert!(limit.now() >= 600, "{}", limit.now());
    }

    #[test]
    fn a_database_that_is_busy_does_not_pass_for_one_that_is_far_away() {
        let (mut limit, mut now) = limit();
        limit.database_answered(Duration::from_millis(1));
        for _ in 0..60 {
            limit.database_answered(Duration::from_millis(40));
        }
        second(&mut limit, &mut now, 2_000, 5_000, Duration::ZERO);
        assert!(limit.now() <= 110, "{}", limit.now());
    }

    #[test]
    fn a_target_that_no_request_can_miss_leaves_the_limit_alone() {
        let mut now = Instant::now();
        let mut limit = Limit::new(1_000, KEEPS, now);
        second(&mut limit, &mut now, 2_000, 5_000, Duration::ZERO);
        assert_eq!(limit.now(), 1_000);
    }
}
