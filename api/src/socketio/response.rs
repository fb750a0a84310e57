//! The response to a command.

use nexus_common::{Error, Result, error::Kind};
use serde_json::{Value, json};

use super::{queue::Message, server::Socket};

/// `ok` or the failure's code; `None` for an undefined command.
pub(super) type Outcome = Option<&'static str>;

/// Answers a command.
pub(super) fn respond(socket: &Socket, message: Message, result: Result<Value>) -> Outcome {
    let outcome = result.as_ref().map_or_else(Error::code, |_| "ok");
    let response = match result {
        Ok(data) => json!({ "success": true, "data": data }),
        Err(error) => {
            if matches!(error.kind(), Kind::Internal | Kind::Unavailable | Kind::Provider) {
                tracing::error!(command = message.name, error = error.details(), "command failed");
            }
            json!({ "success": false, "error": error.to_string() })
        }
    };
    let _ = socket.emit(format!("{}_response", message.name), &response);
    let _ = message.ack.send(&response);
    Some(outcome)
}
