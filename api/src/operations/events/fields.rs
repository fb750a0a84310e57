//! The fields of events and seat types, as their creation and their changes read them.

use nexus_common::{
    Error, Result,
    events::seat_types::NewSeatType,
    types::{
        money::Paise,
        text::{several_lines, without_tags},
    },
};

use super::bounded;
use crate::http::{
    fields::{Field, Price, field, filled, optional_text, some_text, text},
    lenient::to_text,
};

field!(EventName: String = to_text, some_text(255, "Monsoon Jazz Night"));
field!(
    EventDescription: String = to_text, cleaned by several_lines,
    some_text(20_000, "Two sets under one roof.")
);
field!(Location: String = to_text, some_text(255, "Mumbai"));
field!(VenueName: String = to_text, text("Blue Frog").max_length(Some(255)));
field!(
    ImageUrl: String = to_text,
    text("https://nexus.example/jazz.jpg").max_length(Some(2_000))
);
field!(SeatTypeName: String = to_text, some_text(100, "VIP"));
field!(
    SeatTypeDescription: String = to_text, cleaned by several_lines,
    text("The first three rows.").max_length(Some(2_000))
);

/// The seat type that a request describes; what it needs to have is `missing` otherwise.
pub(super) fn new_seat_type(
    name: &SeatTypeName,
    price: &Price,
    quantity: &impl Field<Value = i64>,
    about: Option<&SeatTypeDescription>,
    missing: impl Fn() -> Error,
) -> Result<NewSeatType> {
    let name = filled(name).ok_or_else(&missing)?;
    let price = price.read().ok_or_else(&missing)?;
    if quantity.get().is_none() {
        return Err(missing());
    }
    Ok(NewSeatType {
        name: seat_type_name(name)?,
        description: description(about)?,
        price: self::price(price)?,
        quantity: self::quantity(quantity)?,
    })
}

/// More than any venue has.
const MOST_SEATS: i64 = 1_000_000;

pub(super) fn seat_type_name(name: String) -> Result<String> {
    bounded("name", name, 100)
}

pub(super) fn description(field: Option<&SeatTypeDescription>) -> Result<Option<String>> {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn descriptions_keep_their_lines_and_names_have_one() {
        let text = json!("a\r\nb\u{0}");
        assert_eq!(EventDescription::holding(text.clone()).read().as_deref(), Some("a\nb"));
        assert_eq!(SeatTypeDescription::holding(text.clone()).read().as_deref(), Some("a\nb"));
        assert_eq!(EventName::holding(text).read().as_deref(), Some("a b"));
    }
}
