//! Fields that several of Razorpay's requests share, and what is allowed in them.

use serde_json::{Value, json};

use super::{Refusal, Result};

/// Paise.
const MINIMUM: i64 = 100;

/// `None` when absent.
pub(super) fn amount(body: &Value, too_small: &str) -> Result<Option<i64>> {
    match &body["amount"] {
        Value::Null => Ok(None),
        amount => match amount.as_i64() {
            None => Err(Refusal::invalid("amount", "The amount must be an integer.")),
            Some(amount) if amount < MINIMUM => Err(Refusal::invalid("amount", too_small)),
            amount => Ok(amount),
        },
    }
}

pub(super) fn receipt(body: &Value) -> Result<Option<String>> {
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
pub(super) fn notes(body: &Value) -> Result<Value> {
    match &body["notes"] {
        Value::Null => Ok(json!([])),
        Value::Array(notes) if notes.is_empty() => Ok(json!([])),
        Value::Object(notes) if notes.is_empty() => Ok(json!([])),
        Value::Object(notes) if notes.len() > 15 => Err(Refusal::invalid(
            "notes",
            "Number of fields in notes should be less than or equal to 15",
        )),
        Value::Object(notes) => {
            let too_long =
                |note: &Value| note.as_str().is_some_and(|note| note.chars().count() > 256);
            match notes.values().any(too_long) {
                true => {
                    Err(Refusal::invalid("notes", "A note may not be greater than 256 characters."))
                }
                false => Ok(body["notes"].clone()),
            }
        }
        _ => Err(Refusal::invalid("notes", "The notes must be an object.")),
    }
}

/// For how many minutes a payment of the order may be captured; `None` when the order does not say
/// so.
pub(super) fn capture_minutes(body: &Value) -> Result<Option<u32>> {
    const LONGEST: i64 = 7_200;
    let options = &body["payment"]["capture_options"];
    let refuse = |field, description| Err(Refusal::invalid(field, description));
    let automatic = options["automatic_expiry_period"].as_i64();
    if automatic.is_some_and(|minutes| minutes < 12) {
        return refuse(
            "automatic_expiry_period",
            "The automatic expiry period must be at least 12.",
        );
    }
    let manual = options["manual_expiry_period"].as_i64();
    if manual.is_some_and(|minutes| minutes < automatic.unwrap_or(0) || minutes > LONGEST) {
        let description =
            "The manual expiry period must be between the automatic expiry period and 7200.";
        return refuse("manual_expiry_period", description);
    }
    if !matches!(options["refund_speed"].as_str().unwrap_or("normal"), "normal" | "optimum") {
        return refuse("refund_speed", "The selected refund speed is invalid.");
    }
    Ok(manual.or(automatic).and_then(|minutes| u32::try_from(minutes).ok()))
}
