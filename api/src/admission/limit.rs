//! How many requests this process can serve at once before they get into each other's way. Nobody
//! can know: it depends on the machine, on what the requests ask for, and on PostgreSQL. So it is
//! found out from how long they take, ten times a second.

use std::time::{Duration, Instant};

/// What every process can serve at once.
pub(super) const LEAST: usize = 16;
/// How often it is looked at how long requests take.
const WINDOW: Duration = Duration::from_millis(100);
/// So many say how long requests take.
const ENOUGH: u32 = 20;
/// Among so few, nobody waits for another: they take as long as the way to PostgreSQL does.
const CALM: usize = LEAST / 2;
/// How much longer than that they may take under load, where that is longer than the target.
const LONGER: u32 = 3;
/// A request that has taken longer waits for something else than this process, and leaves its place
/// to another.
pub(super) const KEEPS: Duration = Duration::from_millis(500);

/// The number, and what is known of the requests since it was last looked at.
#[derive(Debug)]
pub(super) struct Limit {
    most: usize,
    target: Duration,
    now: usize,
    /// How long requests have taken of late when there were few.
    calm: Option<Duration>,
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

    /// The mean of those that were served; none if most got stuck.
    fn mean(&self) -> Option<Duration> {
        (self.served >= self.stuck).then(|| self.took / self.served.max(1))
    }
}

impl Limit {
    /// No more than `most`, and fewer where they would take longer than `target`, in the mean.
    pub(super) fn new(most: usize, target: Duration, now: Instant) -> Self {
        let most = most.max(LEAST);
        Limit { most, target, now: most, calm: None, window: Window::new(now) }
    }

    /// How many requests may be in service at once.
    pub(super) fn now(&self) -> usize {
        self.now
    }

    /// So many are in service.
    pub(super) fn reached(&mut self, in_service: usize) {
        self.window.peak = self.window.peak.max(in_service);
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
        let peak = self.window.peak;
        let Some(mean) = self.window.mean() else {
            self.now = (self.now / 2).max(LEAST);
            return;
        };
        if peak <= CALM {
            // Rises slowly, for what takes long by nature must not pass for calm.
            let before = self.calm.map_or(mean, |calm| calm + calm / 100);
            self.calm = Some(mean.min(before));
            return;
        }
        let target = self.target.max(self.calm.map_or(Duration::ZERO, |calm| LONGER * calm));
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
    fn few_requests_leave_the_limit_alone() {
        let (mut limit, mut now) = limit();
        second(&mut limit, &mut now, 500, 4, Duration::from_millis(200));
        assert_eq!(limit.now(), 1_000);
    }

    #[test]
    fn what_is_slow_by_nature_is_no_overload_while_most_places_are_free() {
        let (mut limit, mut now) = limit();
        second(&mut limit, &mut now, 1_000, 2, Duration::from_millis(2));
        second(&mut limit, &mut now, 500, 30, Duration::from_millis(60));
        assert_eq!(limit.now(), 1_000);
    }

    #[test]
    fn a_database_that_is_far_away_is_no_overload() {
        let (mut limit, mut now) = limit();
        let far = Duration::from_millis(60);
        second(&mut limit, &mut now, 100, 6, far);
        second(&mut limit, &mut now, 5_000, 600, far);
        assert_eq!(limit.now(), 1_000);
    }

    #[test]
    fn what_is_slow_by_nature_does_not_pass_for_calm() {
        let (mut limit, mut now) = limit();
        second(&mut limit, &mut now, 1_000, 2, Duration::from_millis(2));
        second(&mut limit, &mut now, 50, 2, Duration::from_millis(400));
        second(&mut limit, &mut now, 2_000, 5_000, Duration::ZERO);
        assert!(limit.now() <= 110, "{}", limit.now());
    }
}
