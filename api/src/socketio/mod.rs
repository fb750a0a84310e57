//! Socket.IO: connections, commands and delivery (docs/contract.md#commands,
//! docs/contract.md#broadcasts).

pub(crate) mod arguments;
pub(crate) mod assets;
mod bus;
mod command;
mod command_rate_limiter;
pub(crate) mod connect;
pub(crate) mod delivery;
mod due;
mod ears;
pub(crate) mod gaps;
pub(crate) mod identity;
pub(crate) mod joining;
pub(crate) mod leaving;
mod listeners;
pub(crate) mod posted;
mod queue;
mod recent;
mod recovery;
mod response;
pub(crate) mod server;
pub(crate) mod upgrade;
mod wire;

pub(crate) use self::command::described;
