//! Seats: locked, given back, counted, shown, fought for.

mod contention;
mod counts;
mod expired_locks;
mod hidden_events;
mod hoarding;
mod maps;
mod own_locks;
mod verified_phone;
