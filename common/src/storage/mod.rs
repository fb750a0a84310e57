//! PostgreSQL, which has the truth, and Redis, which has hints: the connections to both, and the
//! listeners that they talk to.

pub mod listener;
pub mod postgres;
pub mod redis;

pub use self::redis::Cache;
