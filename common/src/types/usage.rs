//! How a budget stands.

use std::time::Duration;

/// How a budget stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// So many uses are allowed.
    pub limit: u32,
    /// So many count now.
    pub used: u32,
    /// After this time the next of them counts no more.
    pub until_room: Duration,
}

impl Usage {
    /// So many are left.
    pub fn remaining(&self) -> u32 {
        self.limit.saturating_sub(self.used)
    }

    /// Whole seconds until a use counts no more; at least one.
    pub fn seconds_until_room(&self) -> u64 {
        self.until_room.as_millis().div_ceil(1_000).max(1) as u64
    }
}
