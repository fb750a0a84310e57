//! The Node service's installations: taken over, repaired, served side by side.

mod migration;
mod repairs;
mod sessions;
mod side_by_side;
mod takeover;
