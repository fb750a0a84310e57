//! Reads JSON as leniently as JavaScript does (docs/contract.md#transport): numbers may be text.

use serde_json::Value;

pub(crate) fn to_text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

pub(crate) fn without_nul(text: &str) -> String {
    text.replace('\0', "")
}

pub(crate) fn to_id(number: i64) -> Option<i32> {
    // Row ids start at 1, and no row has a negative one.
    (number != 0).then(|| i32::try_from(number).unwrap_or(-1))
}

/// As long as the text of a number may be.
pub(crate) const LONGEST_NUMBER: usize = 64;

/// NaN when it is not a number.
pub(crate) fn to_number(value: &Value) -> f64 {
    match value {
        Value::Number(number) => number.as_f64().unwrap_or(f64::NAN),
        Value::String(text) if text.len() <= LONGEST_NUMBER => {
            text.trim().parse().unwrap_or(f64::NAN)
        }
        _ => f64::NAN,
    }
}

/// Decimals are cut off, as JavaScript's `parseInt` does.
pub(crate) fn to_whole(value: &Value) -> Option<i64> {
    match value {
        // `as` saturates, and turns NaN into 0. Rounded down, so that negative numbers stay
        // negative.
        Value::Number(number) => {
            number.as_i64().or_else(|| number.as_f64().map(|n| n.floor() as i64))
        }
        Value::String(text) => leading_integer(text),
        _ => None,
    }
}

fn leading_integer(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits_start = usize::from(text.starts_with(['-', '+']));
    let digits = text[digits_start..]
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len() - digits_start);
    if digits == 0 {
        return None;
    }
    // Too many digits for i64: a number that is neither an id nor a sensible quantity.
    Some(text[..digits_start + digits].parse().unwrap_or(i64::MAX))
}

/// `true`, `false`, or their text.
pub(crate) fn to_truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in ".*") {
            let _ = leading_integer(&text);
        }
    }
}
