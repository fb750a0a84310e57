//! Seats: virtual, a row exists only while its seat is locked or booked, and `available_quantity`
//! counts the rest. [`locks`] grants locks.

pub mod broadcasts;
pub mod counts;
pub mod freeing;
pub mod hints;
pub mod lock;
pub mod lock_changes;
mod lock_groups;
mod lock_queues;
pub mod locks;
pub mod map;
pub mod pseudonyms;
pub mod selection;
mod spent_networks;
pub mod unpaid;
pub mod visibilities;
