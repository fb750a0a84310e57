//! A seat's label and its key.

use serde::Serialize;
use serde_json::Value;
use utoipa::openapi::{ObjectBuilder, Type};

use super::{
    ids::{EventId, SeatTypeId},
    invalid::Invalid,
    schemas::describe,
};

/// A seat's label: trimmed, upper case, `[A-Z0-9]{1,20}` (docs/contract.md#seats).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, sqlx::Type)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct SeatLabel(String);

describe!(
    SeatLabel,
    "SeatLabel",
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^[A-Z0-9]{1,20}$"))
        .description(Some("Unique within its seat type."))
        .examples(["V1"])
);

/// A label with all the space around it.
const LONGEST: usize = 64;

impl SeatLabel {
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let label = text.trim();
        if label.is_empty() {
            Err(Invalid::new("Seat label is required"))
        } else if !label.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            Err(Invalid::new("Invalid seat label format. Only alphanumeric characters allowed."))
        } else if label.len() > 20 || text.len() > LONGEST {
            Err(Invalid::new("Seat label too long (max 20 characters)"))
        } else {
            Ok(SeatLabel(label.to_ascii_uppercase()))
        }
    }

    /// Reads a label from JSON; only text can be one.
    pub fn from_value(value: &Value) -> Result<Self, Invalid> {
        value.as_str().map_or_else(|| Err(Invalid::new("Seat label is required")), Self::parse)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for SeatLabel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Which seat: VIP-A1 and Standard-A1 are different seats.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeatKey {
    pub event: EventId,
    pub seat_type: SeatTypeId,
    pub label: SeatLabel,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels_are_trimmed_and_upper_cased() {
        assert_eq!(SeatLabel::parse(" v1 ").unwrap().as_str(), "V1");
    }

    #[test]
    fn what_is_no_label_is_refused_in_the_contracts_words() {
        let refusal = |text: &str| SeatLabel::parse(text).unwrap_err().to_string();
        assert_eq!(refusal("  "), "Seat label is required");
        assert_eq!(
            refusal("A-1"),
            "Invalid seat label format. Only alphanumeric characters allowed."
        );
        assert_eq!(
            refusal("É1"),
            "Invalid seat label format. Only alphanumeric characters allowed."
        );
        assert_eq!(refusal(&"A".repeat(21)), "Seat label too long (max 20 characters)");
    }

    proptest! {
        #[test]
        fn a_label_is_its_own_normal_form(text in ".*") {
            if let Ok(label) = SeatLabel::parse(&text) {
                prop_assert_eq!(SeatLabel::parse(label.as_str()).unwrap(), label);
            }
        }
    }
}
