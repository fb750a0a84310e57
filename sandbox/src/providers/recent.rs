//! Collections that keep the newest entries only, so that a stand-in can run for weeks.

use std::collections::{HashMap, VecDeque};

/// A map that forgets its oldest entry when it is full.
#[derive(Debug)]
pub(crate) struct Recent<T> {
    limit: usize,
    order: VecDeque<String>,
    entries: HashMap<String, T>,
}

impl<T> Recent<T> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, order: VecDeque::new(), entries: HashMap::new() }
    }

    pub(crate) fn insert(&mut self, id: &str, entry: T) {
        if self.entries.insert(id.to_owned(), entry).is_none() {
            self.order.push_back(id.to_owned());
        }
        if self.order.len() > self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }

    pub(crate) fn get(&self, id: &str) -> Option<&T> {
        self.entries.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut T> {
        self.entries.get_mut(id)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&String, &mut T)> {
        self.entries.iter_mut()
    }

    /// Oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.order.iter().filter_map(|id| self.entries.get(id))
    }
}

/// Appends to a list, dropping its oldest entry when it is full.
pub(crate) fn push<T>(list: &mut VecDeque<T>, limit: usize, entry: T) {
    if list.len() == limit {
        list.pop_front();
    }
    list.push_back(entry);
}
