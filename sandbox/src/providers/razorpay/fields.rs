//! Fields that several of Razorpay's requests share, and what is allowed in them.

use serde_json::{Value, json};

use super::{Answer, Refusal};

/// Paise.
const MINIMUM: i64 = 100;

/// `None` when absent.
pub(super) fn amount(body: &Value, too_small: &str) -> Answer<Option<i64>> {
    match &body["amount"] {
        Value::Null => Ok(None),
        amount => match amount.as_i64() {
            None => Err(Refusal::invalid("amount", "The amount must be an integer.")),
            Some(amount) if amount < MINIMUM => Err(Refusal::invalid("amount", too_small)),
            amount => Ok(amount),
        },
    }
}

pub(super) fn receipt(body: &Value) -> Answer<Option<String>> {
    match &body["receipt"] {
        Value::Null => Ok(None),
        Value::String(receipt) if receipt.chars().count() <= 40 => Ok(Some(receipt.clone())),
        Value::String(_) => {
            Err(Refusal::invalid("receipt", "The receipt may not be greater than 40 characters."))
        }
        _ => Err(Refusal::invalid("receipt", "The receipt must be a string.")),
    }
}

/// Notes come back as they were sent, except that no notes at all are `[]`.
pub(super) fn notes(body: &Value) -> Answer<Value> {
    match &body["notes"] {
        Value::Null => Ok(json!([])),
        Value::Array(notes) if notes.is_empty() => Ok(json!([])),
        Value::Object(notes) if notes.is_empty() => Ok(json!([])),
        Value::Object(notes) if notes.len() > 15 => {
            Err(Refusal::invalid("notes", "Number of fields in notes should be less than or equal to 15"))
        }
        Value::Object(notes) => {
            let too_long = |note: &Value| note.as_str().is_some_and(|note| note.chars().count() > 256);
            match notes.values().any(too_long) {
                true => Err(Refusal::invalid("notes", "A note may not be greater than 256 characters.")),
                false => Ok(body["notes"].clone()),
            }
        }
        _ => Err(Refusal::invalid("notes", "The notes must be an object.")),
    }
}
