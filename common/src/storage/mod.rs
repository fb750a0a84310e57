//! PostgreSQL, which has the truth, and Redis, which has hints.

pub mod postgres;
pub mod redis;

pub use self::redis::Cache;
