//! How many jobs a worker holds, and how many it may hold: as many as it has slots, and while its
//! jobs are quick, as many more as it begins in the next moment. A claim takes longer than such a
//! job; a worker that claimed only for its free slots would wait more than it works.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use nexus_common::jobs::JobId;
use tokio::time::Instant;

/// A worker holds what it runs within this time. A job that waits for its slot has been claimed,
/// and counts an attempt if the worker dies: so this is short. A job that takes longer than this is
/// never claimed before there is a slot for it.
const AHEAD: Duration = Duration::from_millis(20);
/// The most jobs that a worker holds, unless it has more slots.
const MOST: usize = 500;
/// How often the pace of the worker is measured.
const EVERY: Duration = Duration::from_millis(50);

/// The jobs that a worker holds.
pub(crate) struct Load {
    slots: usize,
    /// With their priorities, as far as they are known.
    held: Mutex<HashMap<JobId, Option<i16>>>,
    /// How many it may hold.
    bound: AtomicUsize,
    /// How many have ended since the pace was last measured.
    ended: AtomicUsize,
}

impl Load {
    pub(crate) fn new(slots: usize) -> Self {
        Load {
            slots,
            held: Mutex::default(),
            bound: AtomicUsize::new(slots),
            ended: AtomicUsize::new(0),
        }
    }

    /// How many more jobs the worker may take.
    pub(crate) fn room(&self) -> usize {
        self.bound.load(Ordering::Relaxed).saturating_sub(self.held().len())
    }

    /// Whether it is worth a claim to fill the room: a slot is about to be idle, or much has ended.
    pub(crate) fn is_low(&self) -> bool {
        let held = self.held().len();
        held < self.slots || held * 2 <= self.bound.load(Ordering::Relaxed)
    }

    /// Takes a job if there is room.
    pub(crate) fn try_take(&self, job: JobId) -> bool {
        let mut held = self.held();
        let is_taken = held.len() < self.bound.load(Ordering::Relaxed) && !held.contains_key(&job);
        if is_taken {
            held.insert(job, None);
        }
        is_taken
    }

    /// Takes jobs that have been claimed, with their priorities.
    pub(crate) fn take(&self, jobs: impl IntoIterator<Item = (JobId, i16)>) {
        self.held().extend(jobs.into_iter().map(|(job, priority)| (job, Some(priority))));
    }

    /// A job has ended, and the ledger knows.
    pub(crate) fn drop(&self, job: JobId) {
        self.held().remove(&job);
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// The jobs that the worker knows to be its own.
    pub(crate) fn jobs(&self) -> Vec<JobId> {
        self.held().keys().copied().collect()
    }

    /// How many jobs of each priority above 0 the worker holds.
    pub(crate) fn of_each_priority(&self) -> HashMap<i16, i64> {
        let mut held = HashMap::new();
        for priority in self.held().values().flatten().filter(|priority| **priority > 0) {
            *held.entry(*priority).or_default() += 1;
        }
        held
    }

    /// Measures how quick the jobs are; `since` is when that was done last.
    pub(crate) fn measure(&self, since: &mut Instant) {
        let took = since.elapsed();
        if took >= EVERY {
            *since = Instant::now();
            let ended = self.ended.swap(0, Ordering::Relaxed);
            self.bound.store(bound(self.slots, ended, took), Ordering::Relaxed);
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<JobId, Option<i16>>> {
        self.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// How many jobs a worker may hold that has ended so many in this time.
fn bound(slots: usize, ended: usize, took: Duration) -> usize {
    let soon = ended as f64 * AHEAD.as_secs_f64() / took.as_secs_f64();
    (soon as usize).clamp(slots, MOST.max(slots))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_worker_of_quick_jobs_claims_ahead() {
        let bound = |slots, ended| bound(slots, ended, Duration::from_millis(50));
        assert_eq!(bound(16, 0), 16, "idle");
        assert_eq!(bound(16, 2 * 16), 16, "jobs of 25 ms");
        assert_eq!(bound(16, 100), 40);
        assert_eq!(bound(16, 10_000), MOST);
        assert_eq!(bound(1000, 10_000), 1000);
    }

    #[test]
    fn a_worker_takes_no_more_than_it_has_room_for() {
        let load = Load::new(2);
        let [one, two, three] = [1, 2, 3].map(JobId::from_u128);
        assert!(load.try_take(one) && load.try_take(two) && !load.try_take(three));
        assert_eq!((load.room(), load.is_low()), (0, false));
        load.drop(one);
        assert!(load.is_low() && load.try_take(three));
    }
}
