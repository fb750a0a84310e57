//! Fields of requests: as lenient as the Node service was (docs/contract.md#transport), which read
//! numbers from text and took null for absent. A field's type reads it and describes it in the API
//! documents; the code that turns a request into its typed form decides what is refused, in which
//! words and in which order.

use nexus_common::{
    Error, Result,
    accounts::otp_challenges::OtpPurpose,
    types::{
        contacts::Phone as PhoneNumber,
        ids::UserId,
        page::Page,
        text::one_line,
        time_zone::TimeZone,
        visibility::{ShareCode, Viewer},
    },
    waiting_rooms::tokens,
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Map, Value};
use utoipa::openapi::{KnownFormat, ObjectBuilder, SchemaFormat, Type, schema::AnyOfBuilder};

use super::lenient::{LONGEST_NUMBER, to_id, to_number, to_text, to_truth, to_whole, without_nul};

/// A field as the client sent it, of any JSON type.
pub(crate) trait Field: Sized {
    /// The type that the field is meant to hold.
    type Value;

    /// The field with this value.
    fn holding(value: Value) -> Self;

    /// The value as sent; `None` for both absent and null.
    fn get(&self) -> Option<&Value>;

    /// The field's value; `None` when it is missing or of another type.
    fn read(&self) -> Option<Self::Value>;

    /// The field's value; missing and unreadable are different failures.
    fn required(&self, missing: Error, unreadable: &str) -> Result<Self::Value> {
        if self.get().is_none() {
            return Err(missing);
        }
        self.read().ok_or_else(|| Error::invalid(unreadable))
    }
}

/// Text with something in it, trimmed.
pub(crate) fn filled(field: &impl Field<Value = String>) -> Option<String> {
    field.read().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// More than anybody writes in one line.
const LONGEST_LINE: usize = 4_096;

/// Text that is not too long to be looked at.
fn to_line(value: &Value) -> Option<String> {
    to_text(value).filter(|text| text.chars().nth(LONGEST_LINE).is_none())
}

/// Text of one line as it is kept; one that is too long stays so, whatever it has too much of.
pub(crate) fn clean_line(text: &str) -> String {
    if text.chars().nth(LONGEST_LINE).is_some() { text.to_owned() } else { one_line(text) }
}

const LONGEST_CHALLENGE: usize = 200;

fn to_challenge(value: &Value) -> Option<String> {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    to_text(value).filter(|text| text.len() <= LONGEST_CHALLENGE && text.chars().all(is_fit))
}

/// As much of a text as is looked at: no password is as long.
fn beginning(value: &Value) -> Option<String> {
    value.as_str().map(|text| text.chars().take(LONGEST_LINE + 1).collect())
}

/// [`filled`] text of a field that may be absent; anything but text is refused.
pub(crate) fn optional_text(
    name: &str,
    field: Option<&impl Field<Value = String>>,
) -> Result<Option<String>> {
    match field {
        Some(field) if field.get().is_some() && field.read().is_none() => {
            Err(Error::invalid(format!("{name} must be text")))
        }
        field => Ok(field.and_then(filled)),
    }
}

/// An optional field; null and absent mean the same.
pub(crate) fn sent<F: Field>(field: &Option<F>) -> Option<&F> {
    field.as_ref().filter(|field| field.get().is_some())
}

/// A field of a change: null may have a meaning, and differs from absent.
pub(crate) type Change<F> = Option<Option<F>>;

/// Reads a [`Change`]; to be used with `default`.
pub(crate) fn change<'de, F: Field, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Change<F>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(Some((!value.is_null()).then(|| F::holding(value))))
}

/// `limit` and `offset` of a list.
pub(crate) fn page(limit: &Option<Whole>, offset: &Option<Whole>) -> Result<Page> {
    let read = |field: &Option<Whole>| field.as_ref().and_then(Whole::read);
    Ok(Page::new(read(limit), read(offset))?)
}

/// Who looks at an event.
pub(crate) fn viewer(user: Option<UserId>, code: &Option<Code>) -> Viewer {
    Viewer { user, code: code.as_ref().and_then(Code::read) }
}

/// A type of field: what it holds, how it is read and cleaned, and its schema.
macro_rules! field {
    ($(#[$doc:meta])* $name:ident: $value:ty = $read:expr, cleaned by $clean:expr, $schema:expr) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name(::serde_json::Value);

        impl $crate::http::fields::Field for $name {
            type Value = $value;

            fn holding(mut value: ::serde_json::Value) -> Self {
                if let ::serde_json::Value::String(text) = &mut value {
                    let clean: fn(&str) -> String = $clean;
                    *text = clean(text);
                }
                $name(value)
            }

            fn get(&self) -> Option<&::serde_json::Value> {
                Some(&self.0).filter(|value| !value.is_null())
            }

            fn read(&self) -> Option<$value> {
                let read: fn(&::serde_json::Value) -> Option<$value> = $read;
                $crate::http::fields::Field::get(self).and_then(read)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                // As an option, because serde lets an option be absent.
                let value = Option::<::serde_json::Value>::deserialize(deserializer)?;
                Ok($crate::http::fields::Field::holding(value.unwrap_or_default()))
            }
        }

        impl ::utoipa::PartialSchema for $name {
            fn schema() -> ::utoipa::openapi::RefOr<::utoipa::openapi::Schema> {
                $schema.into()
            }
        }

        impl ::utoipa::ToSchema for $name {}
    };
    ($(#[$doc:meta])* $name:ident: $value:ty = $read:expr, $schema:expr) => {
        $crate::http::fields::field!(
            $(#[$doc])* $name: $value = $read, cleaned by $crate::http::fields::clean_line, $schema
        );
    };
}
pub(crate) use field;

field!(
    /// A row's id. A number that no row can have is still well-formed: the response is "not found".
    Id: i32 = |value| to_whole(value).and_then(to_id),
    or_text(integer(1, i32::MAX), "^[1-9][0-9]{0,8}$")
);
field!(Whole: i64 = to_whole, integer(0, i32::MAX));
field!(
    Quantity: i64 = to_whole,
    or_text(number(0, 1_000_000), "^([0-9]{1,6}|1000000)$")
);
field!(
    /// Not zero.
    SomeQuantity: i64 = to_whole,
    or_text(number(1, 1_000_000), "^([1-9][0-9]{0,5}|1000000)$")
);
field!(TicketLimit: i64 = to_whole, or_text(number(0, 10_000), "^([0-9]{1,4}|10000)$"));
field!(SeatLimit: i64 = to_whole, or_text(number(1, 100), "^([1-9][0-9]?|100)$"));
field!(
    Price: f64 = |value| Some(to_number(value)),
    or_text(
        rupees()
            .minimum(Some(0))
            .description(Some("Rupees: 0, or what can be paid at once (RAZORPAY_MAX_PAISE).")),
        r"^([0-9]{1,8}(\.[0-9]{1,2})?|[0-9]{1,7}\.[0-9]+)$"
    )
);
field!(
    Total: f64 = |value| Some(to_number(value)),
    or_text(rupees().minimum(Some(0.01)), r"^[1-9][0-9]{0,7}(\.[0-9]{1,2})?$")
);
field!(
    Truth: bool = to_truth,
    or_text(ObjectBuilder::new().schema_type(Type::Boolean), "^(true|false)$")
);
field!(
    Time: String = to_text,
    AnyOfBuilder::new()
        .item(
            text("2031-05-01T18:00:00.000Z")
                .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        )
        .item(text("2031-05-01T18:00+05:30").max_length(Some(64)).pattern(Some(
            r"^[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?(Z|[+-](0[0-9]|1[0-3]):?[0-5][0-9])?)?$"
        )))
        .description(Some(
            "RFC 3339, the seconds or the zone left out if need be; without a zone it is UTC. A date alone is its midnight."
        ))
);
field!(
    /// The zone in which people are told an event's times.
    Zone: TimeZone = |value| value.as_str().and_then(TimeZone::parse),
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(TimeZone::names()))
        .description(Some("A time zone, by its name in the IANA database."))
        .examples(["Asia/Kolkata"])
);
field!(
    Email: String = to_text,
    text("asha@nexus.example")
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::IdnEmail)))
        .max_length(Some(254))
        .description(Some("The domain may be internationalised, what is before the @ not."))
);
field!(
    Address: String = to_text,
    text("asha@nexus.example")
        .max_length(Some(254))
        .pattern(Some(
            r"^[^@\s\x00-\x1f\x7f-\x9f]+@[^@.\s\x00-\x1f\x7f-\x9f]+(\.[^@.\s\x00-\x1f\x7f-\x9f]+)+$"
        ))
        .description(Some("Anything that registration has ever accepted as an e-mail address."))
);
field!(
    Phone: String = to_line,
    text("98765 43210").max_length(Some(LONGEST_LINE))
        .pattern(Some(
            r"^[ ()-]*(\+[ ()-]*([1-8]([ ()-]*[0-9]){6,14}|9[ ()-]*[02-9]([ ()-]*[0-9]){5,13})|(\+[ ()-]*9[ ()-]*1([ ()-]*0)?|9[ ()-]*1)[ ()-]*[1-9]([ ()-]*[0-9]){9}|(0[ ()-]*)?[6-9]([ ()-]*[0-9]){9})[ ()-]*$"
        ))
        .description(Some(
            "An Indian number of ten digits in any usual spelling, or `+` and 7 to 15 digits."
        ))
);
field!(
    Number: String = to_line,
    text("98765 43210").max_length(Some(LONGEST_LINE))
        .pattern(Some(
            r"^[ ()-]*(\+[ ()-]*[1-9]([ ()-]*[0-9]){6,14}|9[ ()-]*1([ ()-]*[0-9]){10}|(0[ ()-]*)?[6-9]([ ()-]*[0-9]){9})[ ()-]*$"
        ))
        .description(Some("Anything that registration has ever accepted as a phone number."))
);
field!(
    /// Compared with a hash, so every character counts.
    Password: String = to_text, cleaned by without_nul,
    text("Corr3ct-horse")
        .min_length(Some(8))
        .max_length(Some(128))
        .pattern(Some(r"^(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])(?=.*[!-/:-@\[-`{-~])"))
        .description(Some(
            "With an upper-case and a lower-case letter, a digit and a special character."
        ))
);
field!(
    /// Whatever looks like a challenge and is none is one that has expired.
    Challenge: String = to_challenge, cleaned by str::to_owned,
    text_like("^[A-Za-z0-9_-]*$", "AZ_DWVbAdgmrd7-8YNYGfwDQ3qs0Pq2r3jK2v3iWwJcC")
        .max_length(Some(LONGEST_CHALLENGE))
        .description(Some(
            "The `challenge_id` of the response to `send-otp`: wrong codes then count for whoever has it. Without it they count for the network."
        ))
);
field!(
    Purpose: OtpPurpose = |value| value.as_str().and_then(|word| word.parse().ok()),
    OtpPurpose::schema()
);
field!(Otp: String = to_line, text("123456").max_length(Some(6)).pattern(Some("^[0-9]{4,6}$")));
field!(
    Label: String = to_text,
    text("V1").max_length(Some(64))
        .pattern(Some("^ *[A-Za-z0-9]{1,20} *$"))
        .description(Some("Trimmed and upper-cased; unique within its seat type."))
);
field!(
    /// Whatever is no good token is the same as none.
    AdmissionToken: String = |value| value.as_str().filter(|token| token.len() <= tokens::LONGEST).map(str::to_owned),
    text("eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiI4IiwiYXVkIjoiZXZlbnQ6NyIsImV4cCI6MTkyNDk5MjAwMH0.c2ln")
        .max_length(Some(tokens::LONGEST))
        .description(Some("The admission token of an outside waiting room. Whoever has been called in ours needs none."))
);

field!(
    /// Whatever is no code is wrong, and a wrong one is the same as none.
    Code: ShareCode = |value| value.as_str().and_then(ShareCode::parse),
    text("67e55044-10b1-426f-9247-bb680e5fe0c8").description(Some(
        "The share code of a private event, as its organiser has it from `GET /events/:id`. Without the right one, there is no such event."
    ))
);
field!(
    /// Text of one line that is a word or a name of something; its request describes it. What users
    /// write for others is a [`WrittenText`](super::texts::WrittenText).
    Text: String = to_line,
    ObjectBuilder::new().schema_type(Type::String).max_length(Some(LONGEST_LINE))
);
field!(
    /// Text in which every character counts.
    Verbatim: String = beginning, cleaned by without_nul,
    ObjectBuilder::new().schema_type(Type::String).max_length(Some(LONGEST_LINE))
);

field!(
    /// Objects, each a request by itself: see [`parts`].
    List: Vec<Value> = |value| value.as_array().cloned(),
    ObjectBuilder::new().schema_type(Type::Array)
);
field!(
    /// An object, which is a request by itself: see [`part`].
    Object: Value = |value| Some(value.clone()),
    ObjectBuilder::new().schema_type(Type::Object)
);

/// A part of a request; anything but an object counts as an empty one.
pub(crate) fn part<T: DeserializeOwned>(value: Value) -> Result<T> {
    let value = if value.is_object() { value } else { Value::Object(Map::new()) };
    serde_json::from_value(value).map_err(Error::internal)
}

/// The parts that a list holds.
pub(crate) fn parts<T: DeserializeOwned>(values: Vec<Value>) -> Result<Vec<T>> {
    values.into_iter().map(part).collect()
}

impl Phone {
    /// The number; absent and empty are `missing`.
    pub(crate) fn number(&self, missing: &str) -> Result<PhoneNumber> {
        match self.get() {
            None => Err(Error::invalid(missing)),
            Some(value) if value == "" => Err(Error::invalid(missing)),
            Some(_) => self
                .read()
                .and_then(|text| PhoneNumber::parse(&text))
                .ok_or_else(|| Error::invalid("Invalid phone number format")),
        }
    }
}

fn integer(from: i32, to: i32) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(from)).maximum(Some(to))
}

fn number(from: i32, to: i32) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Number)
        .minimum(Some(from))
        .maximum(Some(to))
        .description(Some("Decimals are cut off."))
}

fn rupees() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Number)
        .maximum(Some(99_999_999.99))
        .description(Some("Rupees."))
}

fn text(example: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).examples([example])
}

/// Text of that form.
pub(crate) fn text_like(pattern: &str, example: &str) -> ObjectBuilder {
    text(example).pattern(Some(pattern))
}

/// What [`is_unfit`](nexus_common::types::text::is_unfit) refuses, within a class of characters.
macro_rules! unfit {
    () => {
        r"\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069"
    };
}

/// Text without unfit characters.
pub(crate) fn any_text(example: &str) -> ObjectBuilder {
    text_like(concat!("^[^", unfit!(), "]*$"), example)
}

/// The same with something in it.
pub(crate) fn some_text(example: &str) -> ObjectBuilder {
    let pattern = concat!(
        "^[^",
        unfit!(),
        r"]*[^\s\x00-\x1f\x7f-\x9f\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069][^",
        unfit!(),
        "]*$"
    );
    text_like(pattern, example).min_length(Some(1))
}

/// A JSON type, or the same as text.
fn or_text(schema: ObjectBuilder, pattern: &str) -> AnyOfBuilder {
    AnyOfBuilder::new().item(schema).item(
        ObjectBuilder::new()
            .schema_type(Type::String)
            .max_length(Some(LONGEST_NUMBER))
            .pattern(Some(pattern)),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Deserialize)]
    struct Request {
        id: Id,
        limit: Option<Whole>,
        #[serde(default, deserialize_with = "change")]
        name: Change<Text>,
    }

    fn request(value: Value) -> Request {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn numbers_may_be_text() {
        let whole = |value: Value| Whole::holding(value).read();
        assert_eq!(whole(json!("7")), Some(7));
        assert_eq!(whole(json!(2.9)), Some(2));
        assert_eq!(whole(json!(-0.5)), Some(-1));
        assert_eq!(whole(json!("abc")), None);
        assert_eq!(whole(json!(null)), None);
        assert!(Price::holding(json!("abc")).read().unwrap().is_nan());
    }

    #[test]
    fn ids_read_as_in_javascript() {
        let id = |text: &str| request(json!({ "id": text })).id.read();
        assert_eq!(id("1abc"), Some(1));
        assert_eq!(id("abc"), None);
        assert_eq!(id("0"), None);
        assert_eq!(id("99999999999"), Some(-1));
        assert_eq!(id("-1"), Some(-1));
    }

    #[test]
    fn absent_and_null_are_the_same_but_for_changes() {
        for request in [request(json!({})), request(json!({"id": null, "limit": null}))] {
            assert!(request.id.get().is_none() && sent(&request.limit).is_none());
            assert!(request.name.is_none());
        }
        assert!(matches!(request(json!({"name": null})).name, Some(None)));
        assert!(matches!(request(json!({"name": 1})).name, Some(Some(_))));
    }

    #[test]
    fn text_is_clean_when_it_is_read() {
        assert_eq!(Text::holding(json!("a\tb\u{0}")).read().as_deref(), Some("a b"));
        assert_eq!(Verbatim::holding(json!("a\tb\u{0}")).read().as_deref(), Some("a\tb"));
        assert_eq!(Text::holding(json!(7)).read(), None);
    }
}
