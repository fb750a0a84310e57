//! The latest broadcasts, numbered in the order in which this process's clients hear them.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use nexus_common::realtime::Audience;
use serde_json::value::RawValue;
use socketioxide::socket::Sid;
use uuid::Uuid;

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

impl Said {
    /// Nothing: its listeners are told how far they have heard.
    pub(super) fn nothing() -> Self {
        Said { to: Audience::Everyone, except: None, data: RawValue::NULL.to_owned() }
    }

    /// Whether both are for the same listeners, or about the same event: then it is decided for both
    /// at once who hears them.
    pub(super) fn goes_with(&self, other: &Said) -> bool {
        match (self.to.view(), other.to.view()) {
            (None, None) => (self.to, self.except) == (other.to, other.except),
            (one, another) => one == another,
        }
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.data.get() == RawValue::NULL.get()
    }
}

/// Says how far a client has heard, and nothing else: a number would tell strangers how much others
/// hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Offset(u64);

impl Offset {
    fn new() -> Self {
        Offset(Uuid::new_v4().as_u64_pair().1)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        u64::from_str_radix(text, 16).ok().map(Offset)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A broadcast, with its number in this process.
pub(super) struct Numbered {
    pub(super) number: u64,
    pub(super) offset: Offset,
    pub(super) said: Said,
    at: Instant,
}

impl Numbered {
    /// What it takes of memory, here and for a client that polls.
    pub(super) fn weight(&self) -> usize {
        self.said.data.get().len() + OVERHEAD
    }
}

/// The latest broadcasts.
pub(super) struct Recent {
    /// Without gaps.
    broadcasts: VecDeque<Arc<Numbered>>,
    numbers: HashMap<Offset, u64>,
    bytes: usize,
    pub(super) last: u64,
    /// Of the last.
    offset: Offset,
}

impl Default for Recent {
    fn default() -> Self {
        Recent {
            broadcasts: VecDeque::new(),
            numbers: HashMap::new(),
            bytes: 0,
            last: 0,
            offset: Offset::new(),
        }
    }
}

impl Recent {
    pub(super) fn record(&mut self, said: Said) -> Arc<Numbered> {
        let at = Instant::now();
        if said.is_nothing() {
            return Arc::new(Numbered { number: self.last, offset: self.offset, said, at });
        }
        self.last += 1;
        self.offset = Offset::new();
        self.numbers.insert(self.offset, self.last);
        let numbered = Arc::new(Numbered { number: self.last, offset: self.offset, said, at });
        self.bytes += numbered.weight();
        self.broadcasts.push_back(numbered.clone());
        while let Some(first) = self.broadcasts.front()
            && (self.bytes > MOST_BYTES || at - first.at > LONGEST)
        {
            self.bytes -= first.weight();
            self.numbers.remove(&first.offset);
            self.broadcasts.pop_front();
        }
        numbered
    }

    /// The number that an offset stands for; none if it is not known any more, or another process's.
    pub(super) fn number(&self, offset: Offset) -> Option<u64> {
        if offset == self.offset {
            return Some(self.last);
        }
        self.numbers.get(&offset).copied()
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
    fn an_offset_is_read_as_it_was_told_and_counts_in_its_process_alone() {
        let (mut one, other) = (Recent::default(), Recent::default());
        let before = one.offset;
        record(&mut one, 10);
        for (offset, number) in [(before, None), (one.offset, Some(1))] {
            assert_eq!(Offset::parse(&offset.to_string()), Some(offset));
            assert_eq!((one.number(offset), other.number(offset)), (number, None));
        }
        assert_eq!((Offset::parse("x"), Offset::parse("")), (None, None));
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
