//! Every intended difference between the Node service and Nexus, in the order in which they apply;
//! see [`rule`](super::rule) for what a rule is, and for how they name their sources. Exchanges are
//! cited by their numbers in the recording.
//!
//! Where Nexus refuses what an exchange created, an [arrangement](super::arrangements) puts
//! something legal with the same id in its place before the next exchange; ids from 901 on belong
//! to rows that Nexus creates where the Node service refused.

mod accounts;
mod bookings;
mod events;
mod failures;
mod payments;
mod seats;
mod sockets;

use super::rule::Rule;

/// All of them.
pub fn rules() -> Vec<Rule> {
    let topics = [
        failures::failures(),
        accounts::transport(),
        accounts::accounts(),
        events::events(),
        events::lists(),
        seats::seats(),
        bookings::bookings(),
        payments::payments(),
        payments::webhooks(),
        sockets::sockets(),
        sockets::broadcasts(),
        accounts::caches(),
        events::time_zones(),
    ];
    topics.into_iter().flatten().collect()
}
