//! PostgreSQL, which has the truth, and Redis, which has hints: connections to both, and listeners
//! for their messages.

pub mod listener;
pub mod postgres;
pub mod redis;

pub use self::redis::Cache;
