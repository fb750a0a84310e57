//! A sliding window: how often something was done lately.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::config::RateLimit;

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

/// The times of the uses that may still count, the oldest first.
#[derive(Debug, Default)]
pub struct Window(VecDeque<Instant>);

impl Window {
    /// Takes a use; false if there is none left.
    pub fn take(&mut self, rate: RateLimit, now: Instant) -> bool {
        let room = self.usage(rate, now).remaining() > 0;
        if room {
            self.0.push_back(now);
        }
        room
    }

    /// Gives one back.
    pub(super) fn give_back(&mut self, at: Instant) {
        if let Some(place) = self.0.iter().rposition(|use_| *use_ == at) {
            self.0.remove(place);
        }
    }

    /// How it stands. Forgets what counts no more.
    pub fn usage(&mut self, rate: RateLimit, now: Instant) -> Usage {
        while self.0.front().is_some_and(|oldest| now.duration_since(*oldest) >= rate.period) {
            self.0.pop_front();
        }
        let until_room = self.0.front().map_or(Duration::ZERO, |oldest| {
            rate.period.saturating_sub(now.duration_since(*oldest))
        });
        Usage { limit: rate.count, used: (self.0.len() as u32).min(rate.count), until_room }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn newest(&self) -> Option<Instant> {
        self.0.back().copied()
    }
}
