//! Socket.IO: connections, commands and delivery (docs/contract.md#commands,
//! docs/contract.md#broadcasts).

pub(crate) mod arguments;
pub(crate) mod assets;
mod command;
pub(crate) mod command_rate_limiter;
pub(crate) mod connect;
pub(crate) mod delivery;
mod driver;
pub(crate) mod identity;
pub(crate) mod joining;
mod queue;
mod response;

pub(crate) use self::command::described;
