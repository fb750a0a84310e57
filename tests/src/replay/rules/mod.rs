//! Every intended difference between the Node service and Nexus, in the order in which they apply;
//! see [`rule`](super::rule) for what a rule is, and for how they name their sources. Exchanges are
//! cited by their numbers in the recording.
//!
//! What an exchange created that Nexus refuses has been replaced by something legal with the same
//! id before the next one ([`arrangements`](super::arrangements)); ids from 901 on are of what
//! Nexus creates where the Node service refused.

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
    ];
    topics.into_iter().flatten().collect()
}
