//! PostgreSQL: what the schema promises, and what statements cost.

mod plans;
mod round_trips;
mod schema;
