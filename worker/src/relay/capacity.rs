//! How many jobs all relays of a queue together keep in the transport: a small multiple of what the
//! queue's workers run at once.

/// The most jobs of a queue in the transport, which breaks at 8,000 (docs/apalis.md).
pub(super) const MOST: usize = 1000;

/// Jobs that one round hands over. Small against [`MOST`], because relays that look at the same
/// moment do not see each other's batch.
pub(super) const BATCH: usize = 100;

/// How many jobs the transport holds when `workers` workers run `concurrency` jobs each. A worker
/// that has just started may not be counted yet.
pub(super) fn target(concurrency: usize, workers: usize) -> usize {
    (share(concurrency) * workers.max(1)).min(MOST)
}

/// How many jobs of one priority above 0 may be with the workers at once: half of all slots.
pub(super) fn of_a_priority(concurrency: usize, workers: usize) -> usize {
    (concurrency * workers.max(1) / 2).max(1)
}

/// One worker's part of the target.
fn share(concurrency: usize) -> usize {
    (concurrency * 2).max(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_follows_the_slots_of_all_workers_within_bounds() {
        assert_eq!(target(1, 1), 16);
        assert_eq!(target(16, 1), 32);
        assert_eq!(target(16, 3), 96);
        assert_eq!(target(16, 0), 32, "this worker is not registered yet");
        assert_eq!(target(1000, 1), MOST);
        assert_eq!(target(16, 1000), MOST);
    }

    #[test]
    fn a_priority_above_0_has_half_of_the_slots_and_at_least_one() {
        assert_eq!(of_a_priority(16, 1), 8);
        assert_eq!(of_a_priority(16, 3), 24);
        assert_eq!(of_a_priority(1, 1), 1);
        assert_eq!(of_a_priority(4, 0), 2, "this worker is not registered yet");
    }
}
