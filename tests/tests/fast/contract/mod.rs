//! The wire contract: as it was recorded, as the API's documents have it, and as a tool that reads
//! them tries it.

mod documents;
mod recording;
mod schemathesis;
