//! The latest broadcasts, numbered in the order in which this process's clients hear them.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use nexus_common::realtime::Audience;
use serde_json::value::RawValue;
use socketioxide::socket::Sid;

/// For how long broadcasts are known: a client may be away for as long.
pub(super) const LONGEST: Duration = Duration::from_secs(120);
/// How many bytes of them, at most.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// What a broadcast takes beside its text.
const OVERHEAD: usize = 256;

/// A broadcast that this process's clients are to hear.
pub(super) struct Said {
    pub(super) to: Audience,
    /// Whose command has caused it.
    pub(super) except: Option<Sid>,
    pub(super) data: Box<RawValue>,
}

/// A broadcast, with its number in this process.
pub(super) struct Numbered {
    pub(super) number: u64,
    pub(super) said: Said,
    at: Instant,
}

impl Numbered {
    fn weight(&self) -> usize {
        self.said.data.get().len() + OVERHEAD
    }
}

/// The latest broadcasts.
#[derive(Default)]
pub(super) struct Recent {
    /// Without gaps.
    broadcasts: VecDeque<Arc<Numbered>>,
    bytes: usize,
    pub(super) last: u64,
}

impl Recent {
    pub(super) fn record(&mut self, said: Said) -> Arc<Numbered> {
        let at = Instant::now();
        self.last += 1;
        let numbered = Arc::new(Numbered { number: self.last, said, at });
        self.bytes += numbered.weight();
        self.broadcasts.push_back(numbered.clone());
        while let Some(first) = self.broadcasts.front()
            && (self.bytes > MOST_BYTES || at - first.at > LONGEST)
        {
            self.bytes -= first.weight();
            self.broadcasts.pop_front();
        }
        numbered
    }

    /// What came after that number; none if not everything is known any more.
    pub(super) fn since(&self, number: u64) -> Option<impl Iterator<Item = &Arc<Numbered>>> {
        let known = self.last - self.broadcasts.len() as u64;
        let is_known = (known..=self.last).contains(&number);
        is_known.then(|| self.broadcasts.range((number - known) as usize..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(recent: &mut Recent, length: usize) {
        let data = RawValue::from_string(format!("\"{}\"", "x".repeat(length))).unwrap();
        recent.record(Said { to: Audience::Everyone, except: None, data });
    }

    fn numbers(recent: &Recent, number: u64) -> Option<Vec<u64>> {
        Some(recent.since(number)?.map(|numbered| numbered.number).collect())
    }

    #[test]
    fn what_came_after_a_number_is_all_of_it_or_not_known() {
        let mut recent = Recent::default();
        for _ in 0..5 {
            record(&mut recent, 10);
        }
        assert_eq!(numbers(&recent, 3), Some(vec![4, 5]));
        assert_eq!(numbers(&recent, 5), Some(vec![]));
        assert_eq!(numbers(&recent, 0), Some(vec![1, 2, 3, 4, 5]));
        assert_eq!(numbers(&recent, 6), None);
        record(&mut recent, MOST_BYTES - 3_000);
        record(&mut recent, 3_000);
        assert_eq!(numbers(&recent, 3), None);
        assert_eq!(numbers(&recent, 6), Some(vec![7]));
    }
}
