//! The fields of events and seat types, as their creation and their changes read them.

use nexus_common::{
    Error, Result,
    events::seat_types::NewSeatType,
    types::{
        money::Paise,
        text::{one_line, several_lines, without_tags},
    },
};

use crate::http::{
    fields::{Field, Price, any_text, field, filled, optional_text, some_text},
    lenient::to_text,
};

/// A text of an event or a seat type.
pub(super) trait BoundedText: Field<Value = String> {
    /// The field's name in messages.
    const NAME: &'static str;
    /// Characters.
    const LONGEST: usize;
}

macro_rules! text {
    ($type:ident = $name:literal, at most $longest:literal, cleaned by $clean:expr, $schema:ident($example:literal)) => {
        field!($type: String = to_text, cleaned by $clean, $schema($longest, $example));

        impl BoundedText for $type {
            const NAME: &'static str = $name;
            const LONGEST: usize = $longest;
        }
    };
}

text!(EventName = "name", at most 255, cleaned by one_line, some_text("Monsoon Jazz Night"));
text!(
    EventDescription = "description", at most 20_000, cleaned by several_lines,
    some_text("Two sets under one roof.")
);
text!(Location = "location", at most 255, cleaned by one_line, some_text("Mumbai"));
text!(VenueName = "venue_name", at most 255, cleaned by one_line, any_text("Blue Frog"));
text!(
    ImageUrl = "image_url", at most 2_000, cleaned by one_line,
    any_text("https://nexus.example/jazz.jpg")
);
text!(SeatTypeName = "name", at most 100, cleaned by one_line, some_text("VIP"));
text!(
    SeatTypeDescription = "description", at most 2_000, cleaned by several_lines,
    any_text("The first three rows.")
);

/// The text, if it is not too long.
pub(super) fn bounded<F: BoundedText>(text: String) -> Result<String> {
    if text.chars().count() > F::LONGEST {
        let (name, longest) = (F::NAME, F::LONGEST);
        return Err(Error::invalid(format!("{name} must be at most {longest} characters long")));
    }
    Ok(text)
}

/// The text of a field that is not to be empty.
pub(super) fn some<F: BoundedText>(field: &F) -> Result<String> {
    let empty = || Error::invalid(format!("{} must not be empty", F::NAME));
    bounded::<F>(filled(field).ok_or_else(empty)?)
}

/// The text of a field that may be absent or empty.
pub(super) fn optional<F: BoundedText>(field: Option<&F>) -> Result<Option<String>> {
    optional_text(F::NAME, field)?.map(bounded::<F>).transpose()
}

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
        name: bounded::<SeatTypeName>(name)?,
        description: description(about)?,
        price: self::price(price)?,
        quantity: self::quantity(quantity)?,
    })
}

/// More than any venue has.
const MOST_SEATS: i64 = 1_000_000;

pub(super) fn description(field: Option<&SeatTypeDescription>) -> Result<Option<String>> {
    let text = optional_text(SeatTypeDescription::NAME, field)?;
    text.as_deref().and_then(without_tags).map(bounded::<SeatTypeDescription>).transpose()
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
