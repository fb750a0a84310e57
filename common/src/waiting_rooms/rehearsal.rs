//! The dry run before the day: who would be called when, if so many came, by the rules by which
//! visitors are called.

use std::collections::VecDeque;

use super::{
    calling::{calls, credit},
    rooms::Terms,
};

/// Who is pretended to come.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// How many are there before the opening.
    pub arrivals: u32,
    pub seats: u32,
    /// How many of a hundred buy, how many seats each, and after how many seconds. The others let
    /// their window pass.
    pub buyers: u32,
    pub each: u32,
    pub takes: u32,
}

/// What would come of it. Times are in seconds after the opening.
#[derive(Debug, Default)]
pub struct Played {
    /// When the first, every tenth part, and the last of those who are called are.
    pub called: Vec<(u32, u32)>,
    pub calls: u32,
    pub sold: u32,
    pub sold_out: Option<u32>,
}

/// No rehearsal goes on for longer.
const LONGEST: u32 = 7 * 24 * 3_600;

/// Plays a sale, second by second, with nobody turned away.
pub fn play(crowd: &Crowd, terms: Terms) -> Played {
    let window = terms.window.map_or(600, |window| window.as_secs() as u32);
    let pace = f64::from(terms.most_calls.unwrap_or(600));
    let most_shoppers = i64::from(terms.most_shoppers.unwrap_or(500));
    let mut played = Played::default();
    let mut when = Vec::new();
    let mut left_over = 0.0;
    // Who leaves when, and how many seats they have taken then.
    let (mut buyers, mut others) = (VecDeque::new(), VecDeque::new());
    for second in 0..LONGEST {
        while let Some(bought) = buyers.pop_front_if(|(at, _)| *at <= second) {
            played.sold += bought.1;
        }
        while others.pop_front_if(|at| *at <= second).is_some() {}
        if played.sold >= crowd.seats {
            played.sold_out = Some(second);
            break;
        }
        let shoppers = (buyers.len() + others.len()) as i64;
        if played.calls >= crowd.arrivals && shoppers == 0 {
            break;
        }
        let held: u32 = buyers.iter().map(|(_, seats)| seats).sum();
        let free = i64::from(crowd.seats - played.sold - held);
        left_over = credit(left_over, pace, 1.0);
        let now = calls(left_over, most_shoppers, shoppers, free);
        let now = now.min(i64::from(crowd.arrivals - played.calls)) as u32;
        left_over -= f64::from(now);
        let mut free = free as u32;
        for _ in 0..now {
            played.calls += 1;
            when.push(second);
            // Evenly among them, so that two rehearsals say the same.
            let bought = |of: u32| u64::from(of) * u64::from(crowd.buyers) / 100;
            let buys = bought(played.calls) > bought(played.calls - 1);
            let seats = crowd.each.min(free);
            match buys && seats > 0 {
                true => {
                    free -= seats;
                    buyers.push_back((second + crowd.takes.min(window), seats));
                }
                false => others.push_back(second + window),
            }
        }
    }
    let steps = (0..=10).map(|tenth| (when.len().saturating_sub(1)) * tenth / 10);
    let mut called: Vec<(u32, u32)> =
        steps.filter_map(|at| Some((at as u32 + 1, *when.get(at)?))).collect();
    called.dedup();
    played.called = called;
    played
}

#[cfg(test)]
mod tests {
    use super::*;

    const CROWD: Crowd = Crowd { arrivals: 10_000, seats: 1_000, buyers: 70, each: 2, takes: 180 };

    #[test]
    fn all_seats_are_sold_and_no_more() {
        let played = play(&CROWD, Terms::default());
        assert_eq!(played.sold, 1_000);
        assert!(played.sold_out.is_some());
        assert!(played.calls < CROWD.arrivals);
    }

    #[test]
    fn everybody_is_called_where_there_is_enough_for_all() {
        let played = play(&Crowd { seats: 100_000, ..CROWD }, Terms::default());
        assert_eq!((played.calls, played.sold_out), (10_000, None));
        assert_eq!(played.sold, 14_000);
        assert_eq!(played.called.first(), Some(&(1, 0)));
        assert!(played.called.is_sorted());
    }
}
