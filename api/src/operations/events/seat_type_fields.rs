//! The fields of a seat type, as its creation and its changes read them.

use nexus_common::{
    Error, Result,
    types::{money::Paise, text::without_tags},
};

use super::bounded;
use crate::http::fields::{Field, Lines, optional_text};

/// More than any venue has.
const MOST_SEATS: i64 = 1_000_000;

pub(super) fn name(name: String) -> Result<String> {
    bounded("name", name, 100)
}

pub(super) fn description(field: Option<&Lines>) -> Result<Option<String>> {
    let text = optional_text("description", field)?.as_deref().and_then(without_tags);
    text.map(|text| bounded("description", text, 2_000)).transpose()
}

pub(super) fn price(rupees: f64) -> Result<Paise> {
    if rupees >= 1e8 {
        return Err(Error::invalid("Price must be less than 100000000"));
    }
    // Less than half a paisa is not free: it is refused like every other price that is too low to
    // be paid.
    Paise::from_rupees(if rupees > 0.0 { rupees.max(0.01) } else { rupees })
        .ok_or_else(|| Error::invalid("Price must be greater than or equal to 0"))
}

pub(super) fn quantity(field: &impl Field<Value = i64>) -> Result<i32> {
    match field.read() {
        Some(seats @ 0..=MOST_SEATS) => Ok(seats as i32),
        Some(seats) if seats > MOST_SEATS => {
            Err(Error::invalid(format!("Quantity must be at most {MOST_SEATS}")))
        }
        _ => Err(Error::invalid("Quantity must be greater than or equal to 0")),
    }
}
