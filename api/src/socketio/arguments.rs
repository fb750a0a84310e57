//! The arguments of a Socket.IO event.

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

/// The arguments of an event, however many there are: only the first counts, if it exists and can
/// be read.
#[derive(Debug)]
pub struct Arguments(pub Option<Value>);

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct First;

        impl<'de> Visitor<'de> for First {
            type Value = Arguments;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the arguments of an event")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut arguments: A) -> Result<Arguments, A::Error> {
                // Read as text first, and then without socketioxide, which stumbles over objects
                // that begin with an escaped key when it looks for attachments.
                let first = arguments.next_element::<Box<RawValue>>()?;
                while arguments.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Arguments(first.and_then(|text| serde_json::from_str(text.get()).ok())))
            }
        }

        // As a tuple: for that, the parser hands over every argument rather than only the first.
        deserializer.deserialize_tuple(1, First)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_argument_counts_if_it_can_be_read() {
        let first = |text: &str| serde_json::from_str::<Arguments>(text).unwrap().0;
        assert_eq!(first("[]"), None);
        assert_eq!(first(r#"[7]"#), Some(json!(7)));
        assert_eq!(first(r#"[{"a\"b": 1}, "more", {}]"#), Some(json!({"a\"b": 1})));
        assert_eq!(
            first(&format!("[{}{}]", "[".repeat(200), "]".repeat(200))),
            None,
            "too deep to be meant"
        );
        assert!(serde_json::from_str::<Arguments>("[1, oops]").is_err());
    }
}
