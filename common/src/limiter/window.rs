//! A sliding window: the recent uses of a budget.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{config::RateLimit, types::usage::Usage};

/// The times of the uses that may still count, the oldest first.
#[derive(Debug, Default)]
pub struct Window(VecDeque<Instant>);

impl Window {
    /// Takes a use; false if none is left.
    pub fn take(&mut self, rate: RateLimit, now: Instant) -> bool {
        let room = self.usage(rate, now).remaining() > 0;
        if room {
            self.0.push_back(now);
        }
        room
    }

    /// Gives a use back.
    pub(super) fn give_back(&mut self, at: Instant) {
        if let Some(place) = self.0.iter().rposition(|use_| *use_ == at) {
            self.0.remove(place);
        }
    }

    /// The window's state. Forgets uses that no longer count.
    pub fn usage(&mut self, rate: RateLimit, now: Instant) -> Usage {
        while self.0.front().is_some_and(|oldest| now.duration_since(*oldest) >= rate.period) {
            self.0.pop_front();
        }
        // More than `count` have been taken by those who may more.
        let next_to_go = self.0.get(self.0.len().saturating_sub(rate.count as usize));
        let until_room = next_to_go
            .map_or(Duration::ZERO, |time| rate.period.saturating_sub(now.duration_since(*time)));
        Usage { limit: rate.count, used: self.0.len() as u32, until_room }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn newest(&self) -> Option<Instant> {
        self.0.back().copied()
    }
}
