//! The response to a command.

use nexus_common::{Error, Result, error::Kind};
use serde_json::{Value, json};

use super::{queue::Message, server::Socket};
use crate::http::api_error::queue;

/// `ok` or the failure's code; `None` for an undefined command.
pub(super) type Outcome = Option<&'static str>;

/// Answers a command.
pub(super) fn respond(socket: &Socket, message: Message, result: Result<Value>) -> Outcome {
    let outcome = result.as_ref().map_or_else(Error::code, |_| "ok");
    let response = match result {
        Ok(data) => json!({ "success": true, "data": data }),
        Err(error) => {
            let is_defect =
                matches!(error.kind(), Kind::Internal | Kind::Unavailable | Kind::Provider);
            let mut failure = json!({ "success": false, "error": error.to_string() });
            if let Error::Overloaded(_) = error {
                failure["code"] = json!(error.code());
                failure["retryAfter"] = json!(error.retry_after());
            } else if let Some(event) = error.queue() {
                failure["code"] = json!(error.code());
                failure["queue"] = json!(queue(event));
            } else if let Some(puzzle) = error.puzzle() {
                failure["code"] = json!(error.code());
                failure["puzzle"] = json!(puzzle);
            } else if is_defect {
                tracing::error!(command = message.name, error = error.details(), "command failed");
            }
            failure
        }
    };
    let _ = socket.emit(format!("{}_response", message.name), &response);
    let _ = message.ack.send(&response);
    Some(outcome)
}
