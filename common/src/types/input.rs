//! Reading what clients send: JSON objects whose numbers may be text (docs/contract.md#transport),
//! query parameters, path segments.

use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::invalid::Invalid;

/// A request's body, query or command payload. Whatever is not a JSON object counts as an empty
/// one.
#[derive(Debug, Default, Clone)]
pub struct Input(Map<String, Value>);

impl From<Value> for Input {
    fn from(value: Value) -> Self {
        let Value::Object(mut fields) = value else { return Input::default() };
        fields.iter_mut().for_each(|(name, value)| clean(name, value));
        Input(fields)
    }
}

impl Input {
    /// The field, unless it is absent or null.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Whether the field was sent at all, be it null.
    pub fn was_sent(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The field, if it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }

    /// The field, if it is text with something in it, trimmed.
    pub fn filled(&self, name: &str) -> Option<&str> {
        self.text(name).map(str::trim).filter(|text| !text.is_empty())
    }

    /// The field, trimmed, unless it is absent or empty; anything but text is refused.
    pub fn optional_text(&self, name: &str) -> Result<Option<&str>, Invalid> {
        match self.get(name) {
            Some(value) if !value.is_string() => Err(Invalid::new(format!("{name} must be text"))),
            _ => Ok(self.filled(name)),
        }
    }

    /// The field as a number; NaN when it is something else.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.get(name).map(to_number)
    }

    /// The field as a whole number, decimals cut off as JavaScript's `parseInt` does.
    pub fn whole(&self, name: &str) -> Option<i64> {
        self.get(name).and_then(to_whole)
    }

    /// Sets a field, over whatever was sent: path segments win over bodies.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        let mut value = value.into();
        clean(name, &mut value);
        self.0.insert(name.to_owned(), value);
    }

    /// The field as an id. A number that no row can have is still well-formed: the answer to it is
    /// "not found".
    pub fn id<I: From<i32>>(&self, name: &str) -> Option<I> {
        self.get(name).and_then(to_whole).and_then(to_id)
    }

    /// The field as a truth value: `true`, `false`, or their text.
    pub fn truth(&self, name: &str) -> Option<Result<bool, ()>> {
        self.get(name).map(|value| match value {
            Value::Bool(truth) => Ok(*truth),
            Value::String(text) => text.trim().parse().map_err(drop),
            _ => Err(()),
        })
    }

    /// Tells this input from any other: SHA-256 of its fields, whatever their order.
    pub fn digest(&self) -> Vec<u8> {
        // The map is sorted.
        Sha256::digest(Value::from(self.0.clone()).to_string()).to_vec()
    }

    /// The field's elements, if it is an array.
    pub fn list(&self, name: &str) -> Option<&[Value]> {
        self.get(name).and_then(Value::as_array).map(Vec::as_slice)
    }
}

/// Fields that are compared with a hash: every character of them counts.
const VERBATIM: &[&str] = &["password", "newPassword"];
/// Fields whose text may have several lines. All other text has one.
const MULTI_LINE: &[&str] = &["description"];

/// Removes control characters from a field's text: nobody sees them, mail headers cannot hold them,
/// and terminals and logs obey them.
fn clean(name: &str, value: &mut Value) {
    match value {
        Value::String(text) if !text.contains(is_control) => {}
        Value::String(text) if VERBATIM.contains(&name) => text.retain(|c| c != '\0'),
        Value::String(text) if MULTI_LINE.contains(&name) => *text = several_lines(text),
        Value::String(text) => *text = one_line(text),
        Value::Array(items) => items.iter_mut().for_each(|item| clean(name, item)),
        Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| clean(name, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Unicode's line and paragraph separator are no control characters to Unicode, and do what those
/// do.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

fn several_lines(text: &str) -> String {
    let mut text =
        text.replace("\r\n", "\n").replace(['\r', '\u{85}', '\u{2028}', '\u{2029}'], "\n");
    text.retain(|c| matches!(c, '\n' | '\t') || !is_control(c));
    text
}

/// A line break or a tab parts words, and becomes a space.
fn one_line(text: &str) -> String {
    let breaks = |c: char| c.is_whitespace() && is_control(c);
    let parts: Vec<&str> = text.split(breaks).filter(|part| !part.is_empty()).collect();
    let mut line = parts.join(" ");
    line.retain(|c| !is_control(c));
    line
}

/// Removes the one character that JSON has and PostgreSQL does not store, wherever it is.
pub fn remove_nul(value: &mut Value) {
    match value {
        Value::String(text) => text.retain(|c| c != '\0'),
        Value::Array(items) => items.iter_mut().for_each(remove_nul),
        Value::Object(fields) => fields.values_mut().for_each(remove_nul),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn to_id<I: From<i32>>(number: i64) -> Option<I> {
    // Row ids start at 1, and no row has a negative one.
    (number != 0).then(|| I::from(i32::try_from(number).unwrap_or(-1)))
}

fn to_number(value: &Value) -> f64 {
    match value {
        Value::Number(number) => number.as_f64().unwrap_or(f64::NAN),
        Value::String(text) => text.trim().parse().unwrap_or(f64::NAN),
        _ => f64::NAN,
    }
}

fn to_whole(value: &Value) -> Option<i64> {
    match value {
        // `as` saturates, and turns NaN into 0. Rounded down, so that what is negative stays so.
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
    // Too many digits for i64: some number that is no id and no sensible quantity.
    Some(text[..digits_start + digits].parse().unwrap_or(i64::MAX))
}

/// Text without HTML tags, trimmed; `None` when nothing is left. As in HTML, a `<` begins a tag
/// only before a letter, `/`, `!` or `?`.
pub fn without_tags(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    // Where in `plain` tags have begun that have not ended. What the end of one removes may bring
    // together the beginning of another.
    let mut begun: Vec<usize> = Vec::new();
    for c in text.chars() {
        if c == '>'
            && let Some(start) = begun.pop()
        {
            plain.truncate(start);
            continue;
        }
        if plain.ends_with('<') && (c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?')) {
            begun.push(plain.len() - 1);
        }
        plain.push(c);
    }
    let plain = plain.trim();
    (!plain.is_empty()).then(|| plain.to_owned())
}

/// Which part of a list is wanted (docs/contract.md#events: `limit(10) offset(0)`).
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// At most so many.
    pub limit: i64,
    /// Skipping so many.
    pub offset: i64,
}

impl Page {
    /// Longest page that is served.
    pub const LONGEST: i64 = 100;

    /// Reads `limit` and `offset`; what is missing, zero or not a number has its default, as in the
    /// Node service.
    pub fn parse(input: &Input) -> Result<Self, Invalid> {
        let limit = input.whole("limit").filter(|limit| *limit != 0).unwrap_or(10);
        let offset = input.whole("offset").unwrap_or(0);
        if limit < 0 || offset < 0 {
            return Err(Invalid::new("limit and offset must not be negative"));
        }
        Ok(Page { limit: limit.min(Self::LONGEST), offset })
    }

    /// The envelope's `pagination`.
    pub fn describe(self, total: i64) -> Pagination {
        Pagination {
            total,
            limit: self.limit,
            offset: self.offset,
            has_more: self.offset.saturating_add(self.limit) < total,
        }
    }
}

/// Which part of a list was served.
#[derive(Debug, Serialize, ToSchema)]
#[allow(missing_docs)]
pub struct Pagination {
    #[schema(minimum = 0)]
    pub total: i64,
    #[schema(minimum = 1, maximum = 100)]
    pub limit: i64,
    #[schema(minimum = 0)]
    pub offset: i64,
    pub has_more: bool,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::{super::ids::EventId, *};

    #[test]
    fn numbers_may_be_text() {
        let input =
            Input::from(json!({"a": "7", "b": 7, "c": 2.9, "d": "abc", "e": null, "f": "0"}));
        assert_eq!(input.whole("a"), Some(7));
        assert_eq!(input.whole("b"), Some(7));
        assert_eq!(input.whole("c"), Some(2));
        assert_eq!(Input::from(json!({"a": -0.5})).whole("a"), Some(-1));
        assert_eq!(input.whole("d"), None);
        assert_eq!(input.whole("e"), None);
        assert_eq!(input.id::<EventId>("f"), None);
        assert!(input.number("d").unwrap().is_nan());
    }

    #[test]
    fn ids_read_as_in_javascript() {
        let id = |text: &str| Input::from(json!({ "id": text })).id::<EventId>("id");
        assert_eq!(id("1abc"), Some(EventId(1)));
        assert_eq!(id("abc"), None);
        assert_eq!(id("0"), None);
        assert_eq!(id("99999999999"), Some(EventId(-1)));
        assert_eq!(id("-1"), Some(EventId(-1)));
    }

    #[test]
    fn the_order_of_fields_makes_no_other_input() {
        let digest = |text| Input::from(serde_json::from_str::<Value>(text).unwrap()).digest();
        assert_eq!(
            digest(r#"{"a": {"x": 1, "y": 2}, "b": 3}"#),
            digest(r#"{"b": 3, "a": {"y": 2, "x": 1}}"#)
        );
        assert_ne!(digest(r#"{"a": 1}"#), digest(r#"{"a": "1"}"#));
    }

    #[test]
    fn nul_is_removed_wherever_it_is() {
        let input = Input::from(json!({"a": "x\u{0}y", "b": [{"c": "\u{0}z"}]}));
        assert_eq!(input.text("a"), Some("xy"));
        assert_eq!(input.list("b"), Some([json!({"c": "z"})].as_slice()));
    }

    #[test]
    fn a_line_break_becomes_a_space_where_text_has_one_line() {
        let input = Input::from(json!({
            "name": "Ann\r\n\tLee\u{7}\u{7f}", "description": "a\r\nb\tc\u{1b}[31m\u{2028}d",
            "password": "a\tb\u{0}", "seats": [{"seat_label": "\nA1"}], "reason": "x\u{2029}y",
        }));
        assert_eq!(input.text("name"), Some("Ann Lee"));
        assert_eq!(input.text("description"), Some("a\nb\tc[31m\nd"));
        assert_eq!(input.text("password"), Some("a\tb"));
        assert_eq!(input.text("reason"), Some("x y"));
        assert_eq!(input.list("seats"), Some([json!({"seat_label": "A1"})].as_slice()));
    }

    #[test]
    fn tags_are_stripped() {
        assert_eq!(without_tags("Orga <b>Nizer</b>").as_deref(), Some("Orga Nizer"));
        assert_eq!(without_tags("<script>"), None);
        assert_eq!(without_tags("a<!-- b -->c</br>d<?php e?>").as_deref(), Some("acd"));
        // What is left by removing a tag is no tag, either.
        assert_eq!(without_tags("<<b>script>x</</b>script>").as_deref(), Some("x"));
    }

    #[test]
    fn what_is_no_tag_stays() {
        for text in ["1 < 2", "3 < 5 and 7 > 2 friends", "I <3 you > me", "a <b", "->"] {
            assert_eq!(without_tags(text).as_deref(), Some(text));
        }
    }

    fn has_a_tag(text: &str) -> bool {
        text.match_indices('<').any(|(at, _)| {
            let inner = &text[at + 1..];
            inner.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?'))
                && inner.contains('>')
        })
    }

    proptest! {
        #[test]
        fn nothing_that_is_left_is_a_tag(text in "[<>a/!? 1]{0,24}") {
            let plain = without_tags(&text).unwrap_or_default();
            prop_assert!(!has_a_tag(&plain), "{plain}");
            prop_assert_eq!(without_tags(&plain).unwrap_or_default(), plain);
        }

        #[test]
        fn text_of_one_line_has_no_control_characters_and_is_its_own_clean_form(text in "[\\PC\\p{Cc}\u{2028}]*") {
            let line = one_line(&text);
            prop_assert!(!line.contains(is_control));
            prop_assert_eq!(one_line(&line), line);
            let lines = several_lines(&text);
            prop_assert!(lines.chars().all(|c| matches!(c, '\n' | '\t') || !is_control(c)));
            prop_assert_eq!(several_lines(&lines), lines);
        }

        #[test]
        fn no_text_is_too_odd(text in ".*") {
            let _ = leading_integer(&text);
            let _ = without_tags(&text);
        }
    }
}
