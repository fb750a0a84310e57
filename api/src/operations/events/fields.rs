//! The fields of events and seat types, as their creation and their changes read them.

use nexus_common::{
    Error, Result,
    events::seat_types::NewSeatType,
    types::{
        money::Paise,
        text::{joined_lines, several_lines, without_tags},
    },
};

use crate::http::{
    fields::{Field, Price, any_text, filled, optional_text, some_text, text_like},
    texts::{WrittenText, checked, text},
};

text!(EventName = "name", at most 255, cleaned by joined_lines, some_text("Monsoon Jazz Night"));
text!(
    EventDescription = "description", at most 20_000, cleaned by several_lines,
    some_text("Two sets under one roof.")
);
text!(Location = "location", at most 255, cleaned by joined_lines, some_text("Mumbai"));
text!(VenueName = "venue_name", at most 255, cleaned by joined_lines, any_text("Blue Frog"));
text!(
    ImageUrl = "image_url", at most 2_000, cleaned by joined_lines,
    text_like(HTTPS, "https://nexus.example/jazz.jpg")
        .description(Some("It begins with `https://`; one from before may be sent again."))
);
text!(SeatTypeName = "name", at most 100, cleaned by joined_lines, some_text("VIP"));
text!(
    SeatTypeDescription = "description", at most 2_000, cleaned by several_lines,
    any_text("The first three rows.")
);

/// What [`create`](nexus_common::events::changes::create) accepts.
const HTTPS: &str = r#"^(?:[hH][tT][tT][pP][sS]://[^\s\x00-\x1f\x7f-\x9f\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069"<>\\^`{|}/?#:@][^\s\x00-\x1f\x7f-\x9f\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069"<>\\^`{|}]*)?$"#;

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
        name: checked::<SeatTypeName>(name)?,
        description: description(about)?,
        price: self::price(price)?,
        quantity: self::quantity(quantity)?,
    })
}

/// More than any venue has.
const MOST_SEATS: i64 = 1_000_000;

pub(super) fn description(field: Option<&SeatTypeDescription>) -> Result<Option<String>> {
    let text = optional_text(SeatTypeDescription::NAME, field)?;
    text.as_deref().and_then(without_tags).map(checked::<SeatTypeDescription>).transpose()
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
        let text = json!("a\r\nb");
        assert_eq!(EventDescription::holding(text.clone()).read().as_deref(), Some("a\nb"));
        assert_eq!(SeatTypeDescription::holding(text.clone()).read().as_deref(), Some("a\nb"));
        assert_eq!(EventName::holding(text).read().as_deref(), Some("a b"));
    }
}
