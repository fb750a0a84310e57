//! PostgreSQL, which has the truth, and Redis, which has hints: connections to both, and listeners
//! for their messages, and [`groups`] of calls that are made together.

pub mod groups;
pub mod listener;
pub mod postgres;
pub mod redis;

pub use self::redis::Cache;
