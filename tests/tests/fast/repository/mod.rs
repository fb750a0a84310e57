//! The repository itself: what its texts cite, and how its source is built.

mod citations;
mod structure;
