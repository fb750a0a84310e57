//! What has been read a short while ago, up to a size: what has not been used for the longest time
//! goes first, roughly.

use std::{collections::HashMap, hash::Hash, mem};

/// Something that takes room.
pub(crate) trait Weigh {
    /// Bytes, roughly.
    fn weight(&self) -> usize;
}

/// Two generations: what is used is young. When the young take half of the room, they are the old
/// ones, and those that were old and have not been used since are forgotten.
pub(crate) struct Memory<K, V> {
    most: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    /// Of the young.
    weight: usize,
}

impl<K: Eq + Hash + Clone, V: Weigh + Clone> Memory<K, V> {
    /// Remembers so many bytes.
    pub(crate) fn new(most: usize) -> Self {
        Memory { most, young: HashMap::new(), old: HashMap::new(), weight: 0 }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let value = self.old.remove(key)?;
        self.insert(key.clone(), value.clone());
        Some(value)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.weight += value.weight();
        self.old.remove(&key);
        if let Some(before) = self.young.insert(key, value) {
            self.weight -= before.weight();
        }
        if self.weight > self.most / 2 {
            self.old = mem::take(&mut self.young);
            self.weight = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weigh for usize {
        fn weight(&self) -> usize {
            *self
        }
    }

    fn total(memory: &Memory<u32, usize>) -> usize {
        memory.young.values().chain(memory.old.values()).sum()
    }

    #[test]
    fn however_much_is_read_memory_is_bounded_and_what_is_used_stays() {
        let mut memory = Memory::new(1_000);
        memory.insert(0, 10);
        for key in 1..10_000 {
            memory.insert(key, 10);
            assert_eq!(memory.get(&0), Some(10), "after {key}");
            assert!(total(&memory) <= 1_000 + 10, "{}", total(&memory));
        }
        assert_eq!(memory.get(&1), None);
    }

    #[test]
    fn of_one_key_there_is_one_value() {
        let mut memory = Memory::new(100);
        for _ in 0..1_000 {
            memory.insert(1, 20);
        }
        assert_eq!(total(&memory), 20);
        memory.insert(1, 30);
        assert_eq!((memory.get(&1), total(&memory)), (Some(30), 30));
    }
}
