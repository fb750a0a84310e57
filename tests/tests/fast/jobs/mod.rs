//! The job system.

mod crashes;
mod dead_letters;
mod retention;
mod scaling;
mod semantics;
mod shutdown;
