//! Seat labels: what is read is trimmed, upper case, short, and its own normal form.

#![no_main]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a property that does not hold is found by panicking"
)]

use libfuzzer_sys::fuzz_target;
use nexus_common::types::seats::SeatLabel;
use serde_json::json;

fuzz_target!(|text: &str| {
    let read = SeatLabel::parse(text);
    let from_json = SeatLabel::from_value(&json!(text));
    assert_eq!(from_json.as_ref().ok(), read.as_ref().ok(), "JSON is read as text is");
    match read {
        Ok(label) => {
            let normal = label.as_str();
            assert!((1..=20).contains(&normal.len()));
            assert!(normal.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()));
            assert_eq!(normal, text.trim().to_uppercase());
            assert_eq!(SeatLabel::parse(normal).unwrap(), label, "a label is its own normal form");
            assert_eq!(json!(label), json!(normal));
        }
        Err(refusal) => {
            let trimmed = text.trim();
            // With all the space around it, a label is no longer than this.
            let short = text.len() <= 64;
            let fine = short && trimmed.bytes().all(|byte| byte.is_ascii_alphanumeric());
            assert!(!fine || !(1..=20).contains(&trimmed.len()), "{text:?} was refused: {refusal}");
        }
    }
});
