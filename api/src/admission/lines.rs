//! Who waits for a place, and whose turn it is: the most urgent first; among those, who comes from
//! where the fewest are served; among those, who came first.

use std::collections::{HashMap, VecDeque};

use tokio::sync::oneshot;

use super::{Asker, Place};
use crate::http::{client_ip::Network, policy::Priority};

/// Of so many places, one goes to the least urgent that waits: nobody is left out for ever.
pub(super) const FOR_THE_LAST: u64 = 16;

#[derive(Debug, Default)]
pub(super) struct Lines {
    /// By priority.
    lines: [VecDeque<Waiter>; Priority::ALL.len()],
    /// How many have got a place.
    given: u64,
}

#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) asker: Asker,
    pub(super) place: oneshot::Sender<Place>,
}

impl Lines {
    pub(super) fn len(&self) -> usize {
        self.lines.iter().map(VecDeque::len).sum()
    }

    /// Lets a request wait, unless `most` wait already. Then one that is less urgent has waited in
    /// vain, or one from where more wait.
    pub(super) fn join(&mut self, asker: Asker, most: usize) -> Option<oneshot::Receiver<Place>> {
        for line in &mut self.lines {
            // Whoever came first has lost patience first.
            while line.pop_front_if(|waiter| waiter.place.is_closed()).is_some() {}
        }
        if self.len() >= most {
            let (_, less_urgent) = self.lines.split_at_mut(asker.priority as usize + 1);
            let last = less_urgent.iter_mut().rev().find_map(VecDeque::pop_back);
            last.or_else(|| self.one_of_the_crowd(asker))?;
        }
        let (place, receiver) = oneshot::channel();
        self.lines[asker.priority as usize].push_back(Waiter { asker, place });
        Some(receiver)
    }

    /// The last of those who are as urgent and come from where most of them come from, if with the
    /// asker fewer would wait from there.
    fn one_of_the_crowd(&mut self, asker: Asker) -> Option<Waiter> {
        let line = &mut self.lines[asker.priority as usize];
        let mut waiting: HashMap<Network, usize> = HashMap::new();
        for waiter in line.iter() {
            *waiting.entry(waiter.asker.from).or_default() += 1;
        }
        let own = waiting.get(&asker.from).copied().unwrap_or_default();
        let (crowd, most) = waiting.into_iter().max_by_key(|(_, waiting)| *waiting)?;
        let last = line.iter().rposition(|waiter| waiter.asker.from == crowd)?;
        if most > own + 1 { line.remove(last) } else { None }
    }

    /// Who gets the next place; `served` says how many are served from where somebody comes from.
    pub(super) fn next(&mut self, served: impl Fn(Network) -> usize) -> Option<Waiter> {
        let mut lines = self.lines.iter_mut().filter(|line| !line.is_empty());
        let line = match (self.given + 1).is_multiple_of(FOR_THE_LAST) {
            true => lines.next_back(),
            false => lines.next(),
        }?;
        self.given += 1;
        let (next, _) =
            line.iter().enumerate().min_by_key(|(_, waiter)| served(waiter.asker.from))?;
        line.remove(next)
    }
}
