//! Broadcasts: what clients are told, who hears it, and how it reaches them. The API delivers to
//! its own sockets and, through the adapter, to those of every other API process; a worker
//! publishes in the same wire format. Broadcasts are sent after commit and are hints: a client that
//! missed one fetches the state. Each noun has its own: `seats::broadcasts`, `bookings::broadcasts`
//! …

mod after_commit;
mod broadcast;
mod coalesced;
mod emitter;
mod followers;

pub use self::{
    after_commit::AfterCommit,
    broadcast::{
        ALL_EVENTS, Audience, Broadcast, Listeners, Parties, Payload, Publish, event_room, is_own,
        own_room, user_room,
    },
    coalesced::Coalesced,
    emitter::Emitter,
    followers::Followers,
};
