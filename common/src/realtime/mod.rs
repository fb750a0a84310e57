//! Broadcasts: what clients are told, who hears it, and how it reaches them. The API delivers to
//! its own sockets and, over Redis, to those of every other API process; a worker publishes in the
//! same form. Broadcasts are sent after commit and are hints: a client that
//! missed one fetches the state. Each noun has its own: `seats::broadcasts`, `bookings::broadcasts`
//! …

mod after_commit;
mod broadcast;
mod coalesced;
mod emitter;
mod followers;
mod message;

pub use self::{
    after_commit::AfterCommit,
    broadcast::{Audience, Broadcast, Listeners, Parties, Payload, Publish},
    coalesced::Coalesced,
    emitter::Emitter,
    followers::Followers,
    message::{CHANNEL, Message},
};
