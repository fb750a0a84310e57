//! The findings of the readiness review of the Node service, one test each, named after its number:
//! a test here would fail on that service. `docs/readiness.md` tables them. Deeper tests have files
//! of their own.

mod access;
mod edge;
mod rate_limits;
mod repository;
mod sales;
mod settings;
mod table;
