//! Budgets in this process's memory, for when Redis is away.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use super::{Budget, Window};
use crate::types::usage::Usage;

/// The most uses that are remembered; beyond that, the half of the budgets with the longest rest is
/// forgotten.
const MOST_USES: usize = 200_000;

#[derive(Default)]
pub(super) struct Local(Mutex<Budgets>);

#[derive(Default)]
struct Budgets {
    windows: HashMap<String, Window>,
    /// The uses in all windows.
    uses: usize,
}

impl Local {
    /// Takes one use of each, or none.
    pub(super) fn take(&self, budgets: &[Budget], now: Instant) -> (bool, Vec<Usage>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.uses + budgets.len() > MOST_USES {
            all.forget_half();
        }
        let stand: Vec<Usage> = budgets.iter().map(|budget| all.usage(budget, now)).collect();
        if stand.iter().any(|usage| usage.remaining() == 0) {
            return (false, stand);
        }
        let taken = budgets.iter().map(|budget| {
            all.with(budget, |window| window.take(budget.rate, now));
            all.usage(budget, now)
        });
        (true, taken.collect())
    }

    /// Forgets all uses of these.
    pub(super) fn clear(&self, budgets: &[Budget]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for budget in budgets {
            if let Some(window) = all.windows.remove(&budget.key) {
                all.uses -= window.len();
            }
        }
    }

    pub(super) fn give_back(&self, budget: &Budget, at: Instant) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.with(budget, |window| window.give_back(at));
    }
}

impl Budgets {
    fn usage(&mut self, budget: &Budget, now: Instant) -> Usage {
        self.with(budget, |window| window.usage(budget.rate, now))
    }

    /// Keeps count of the uses, and drops windows without any.
    fn with<T>(&mut self, budget: &Budget, act: impl FnOnce(&mut Window) -> T) -> T {
        let mut window = self.windows.remove(&budget.key).unwrap_or_default();
        self.uses -= window.len();
        let result = act(&mut window);
        self.uses += window.len();
        if window.len() > 0 {
            self.windows.insert(budget.key.clone(), window);
        }
        result
    }

    fn forget_half(&mut self) {
        let mut newest: Vec<_> = self.windows.values().filter_map(Window::newest).collect();
        newest.sort_unstable();
        let Some(middle) = newest.get(newest.len() / 2).copied() else { return };
        self.windows.retain(|_, window| window.newest().is_some_and(|newest| newest > middle));
        self.uses = self.windows.values().map(Window::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Limit, RateLimit};

    const RATE: RateLimit = RateLimit { count: 2, period: Duration::from_secs(60) };

    fn budget(whose: usize) -> Budget {
        Budget::new(Limit::Login, RATE, whose)
    }

    #[test]
    fn all_budgets_are_taken_from_or_none_is() {
        let (local, now) = (Local::default(), Instant::now());
        assert!(local.take(&[budget(1)], now).0);
        assert!(local.take(&[budget(1), budget(2)], now).0);
        let (taken, usage) = local.take(&[budget(1), budget(2)], now);
        assert!(!taken);
        assert_eq!(usage.iter().map(Usage::remaining).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(usage[0].until_room, RATE.period);
        assert!(local.take(&[budget(2)], now).0, "the refused one has not counted");
    }

    #[test]
    fn a_use_counts_for_the_period_and_not_longer() {
        let (local, now) = (Local::default(), Instant::now());
        assert!(local.take(&[budget(1)], now).0);
        assert!(local.take(&[budget(1)], now + RATE.period / 2).0);
        assert!(!local.take(&[budget(1)], now + RATE.period - Duration::from_millis(1)).0);
        assert!(local.take(&[budget(1)], now + RATE.period).0);
        assert!(!local.take(&[budget(1)], now + RATE.period).0);
    }

    #[test]
    fn what_is_given_back_does_not_count() {
        let (local, now) = (Local::default(), Instant::now());
        assert!(local.take(&[budget(1)], now).0 && local.take(&[budget(1)], now).0);
        local.give_back(&budget(1), now);
        assert!(local.take(&[budget(1)], now).0);
        assert!(!local.take(&[budget(1)], now).0);
    }

    #[test]
    fn however_many_budgets_there_are_memory_is_bounded() {
        let (local, start) = (Local::default(), Instant::now());
        for whose in 0..MOST_USES + 10 {
            let now = start + Duration::from_nanos(whose as u64);
            assert!(local.take(&[budget(whose)], now).0);
        }
        let all = local.0.lock().unwrap();
        assert!(all.windows.len() <= MOST_USES, "{}", all.windows.len());
        assert!(all.windows.contains_key(&budget(MOST_USES).key), "what is new stays");
        assert_eq!(all.uses, all.windows.len());
    }
}
