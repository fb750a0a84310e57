//! The state of a budget.

use std::time::Duration;

/// The state of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Uses that are allowed.
    pub limit: u32,
    /// Uses that count now; others may have been allowed more.
    pub used: u32,
    /// How long until the next of them stops counting.
    pub until_room: Duration,
}

impl Usage {
    /// Uses that are left.
    pub fn remaining(&self) -> u32 {
        self.limit.saturating_sub(self.used)
    }

    /// Whole seconds until a use stops counting; at least one.
    pub fn seconds_until_room(&self) -> u64 {
        self.until_room.as_millis().div_ceil(1_000).max(1) as u64
    }
}
