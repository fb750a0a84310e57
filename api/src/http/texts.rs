//! Texts that users write for others to read, or for themselves: each has a longest length and holds
//! no characters that deceive. A text of this kind is declared with [`text!`], which takes both, and
//! can be had by [`some`], [`optional`] and [`checked`] alone.

use nexus_common::{Error, Result, types::text::is_unfit};

use super::fields::{Field, filled, optional_text};

/// A text that a user writes.
pub(crate) trait WrittenText: Field<Value = String> {
    /// The field's name in messages.
    const NAME: &'static str;
    /// Characters.
    const LONGEST: usize;
}

/// A type of field for a text that a user writes: its name, its longest length, how it is cleaned,
/// and its schema, which says how long it may be.
macro_rules! text {
    ($type:ident = $name:literal, at most $longest:literal, cleaned by $clean:expr, $schema:expr) => {
        $crate::http::fields::field!(
            $type: String = $crate::http::lenient::to_text, cleaned by $clean, $schema.max_length(Some($longest))
        );

        impl $crate::http::texts::WrittenText for $type {
            const NAME: &'static str = $name;
            const LONGEST: usize = $longest;
        }
    };
}
pub(crate) use text;

/// The text, if it is not too long, and shows what it says.
pub(crate) fn checked<F: WrittenText>(text: String) -> Result<String> {
    let (name, longest) = (F::NAME, F::LONGEST);
    if text.chars().count() > longest {
        return Err(Error::invalid(format!("{name} must be at most {longest} characters long")));
    }
    if is_unfit(&text) {
        return Err(Error::invalid(format!(
            "{name} must not contain control characters or characters that change the order of text"
        )));
    }
    Ok(text)
}

/// The text of a field that is not to be empty.
pub(crate) fn some<F: WrittenText>(field: &F) -> Result<String> {
    let empty = || Error::invalid(format!("{} must not be empty", F::NAME));
    checked::<F>(filled(field).ok_or_else(empty)?)
}

/// The text of a field that may be absent or empty.
pub(crate) fn optional<F: WrittenText>(field: Option<&F>) -> Result<Option<String>> {
    optional_text(F::NAME, field)?.map(checked::<F>).transpose()
}
