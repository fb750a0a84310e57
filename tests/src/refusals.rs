//! How requests are refused, and tables of bad ones.

use serde_json::{Value, json};

use crate::client::Client;
use crate::stack::Stack;

/// When the seats to book are not locked.
pub const NOT_LOCKED: &str = "One or more seats are not locked by you, have expired, or do not exist. Please lock the seats again.";
/// When a seat type has nothing left.
pub const SOLD_OUT: &str = "No seats available for this seat type";
/// When a limit is reached.
pub const TOO_MANY: &str = "Too many requests. Please try again later.";

/// A body, the status and the message of its refusal.
pub type Refusal = (Value, u16, &'static str);

/// The same object with that field changed, or without it when the value is null.
pub fn with(base: &Value, field: &str, value: Value) -> Value {
    let mut changed = base.clone();
    if let Some(fields) = changed.as_object_mut() {
        fields.remove(field);
        if !value.is_null() {
            fields.insert(field.to_owned(), value);
        }
    }
    changed
}

impl Stack {
    /// Posts every body, and checks that each gets its refusal and that nothing was stored.
    pub async fn refuses(&self, client: &Client, path: &str, cases: Vec<Refusal>) {
        let before = self.contents().await;
        for (body, status, message) in cases {
            eprintln!("POST {path} {body:.200}");
            client.post(path, body).await.failed(status, message);
        }
        assert_eq!(json!(self.contents().await), json!(before), "what is stored after {path}");
    }
}
