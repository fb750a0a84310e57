//! Waiting rooms: when more people come for an event's seats than can buy at once, they are called
//! one after the other (docs/waiting-room.md). Whoever is there before the opening is drawn, whoever
//! comes later queues behind. A called visitor may lock seats for a while; [`crate::seats`] asks
//! whether one is called. PostgreSQL has everything: a process that dies, or a Redis that is
//! emptied, costs nobody their position.

pub mod broadcasts;
pub mod calling;
pub mod draw;
pub mod loads;
pub mod rehearsal;
pub mod rooms;
pub mod snapshots;
pub mod tokens;
pub mod visitors;
