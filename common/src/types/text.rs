//! Text from users: what is removed from it before use.

use serde_json::Value;

/// To Unicode its line and paragraph separators are not control characters, but they act like them.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Marks that say nothing and cannot be seen. The joiners of Indic scripts and of emoji, U+200C and
/// U+200D, and the marks of a text's own direction, U+200E and U+200F, do say something.
fn is_void(c: char) -> bool {
    matches!(c, '\u{200b}' | '\u{2060}' | '\u{feff}')
}

/// Text of several lines; a line ends with U+000A.
pub fn several_lines(text: &str) -> String {
    let mut text = text
        .replace("\r\n", "\n")
        .replace(['\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'], "\n");
    text.retain(|c| !is_void(c));
    text
}

/// Text of one line. A line break or a tab separates words, and becomes a space.
pub fn joined_lines(text: &str) -> String {
    let breaks = |c: char| c.is_whitespace() && is_control(c);
    let parts: Vec<&str> = text.split(breaks).filter(|part| !part.is_empty()).collect();
    let mut line = parts.join(" ");
    line.retain(|c| !is_void(c));
    line
}

/// The same without control characters: they are invisible, mail headers cannot hold them, and
/// terminals and logs obey them.
pub fn one_line(text: &str) -> String {
    let mut line = joined_lines(text);
    line.retain(|c| !is_control(c));
    line
}

/// Whether a text has characters that nobody else should have to look at: control characters, and
/// those that make the text around them be shown in another order (U+202A–202E, U+2066–2069).
pub fn is_unfit(text: &str) -> bool {
    let reorders = |c| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().any(|c| reorders(c) || (is_control(c) && !matches!(c, '\n' | '\t')))
}

/// The beginning of a text that is longer than so many characters, with an ellipsis for its last.
pub fn shortened(text: &str, longest: usize) -> String {
    if text.chars().nth(longest).is_none() {
        return text.to_owned();
    }
    let beginning: String = text.chars().take(longest.saturating_sub(1)).collect();
    beginning + "…"
}

/// Removes U+0000, which JSON allows and PostgreSQL does not store, from all text in a value.
pub fn remove_nul(value: &mut Value) {
    match value {
        Value::String(text) => text.retain(|c| c != '\0'),
        Value::Array(items) => items.iter_mut().for_each(remove_nul),
        Value::Object(fields) => fields.values_mut().for_each(remove_nul),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Text without HTML tags, trimmed; `None` when nothing is left. As in HTML, a `<` begins a tag
/// only before a letter, `/`, `!` or `?`.
pub fn without_tags(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    // Where in `plain` open tags have begun. Removing one may join parts into the beginning of
    // another.
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

/// Text from which phones and mail programs make no link, for messages that other people get: a dot
/// within a word gets a space behind it, unless it stands between digits, and `://` becomes one.
pub fn without_links(text: &str) -> String {
    let is_dot =
        |c| matches!(c, '.' | '\u{2024}' | '\u{3002}' | '\u{fe52}' | '\u{ff0e}' | '\u{ff61}');
    let characters: Vec<char> = text.replace("://", " ").chars().collect();
    let mut plain = String::with_capacity(text.len());
    for (at, &c) in characters.iter().enumerate() {
        plain.push(c);
        let before = at.checked_sub(1).map(|at| characters[at]);
        let after = characters.get(at + 1).copied();
        if let (true, Some(before), Some(after)) = (is_dot(c), before, after)
            && !before.is_whitespace()
            && after.is_alphanumeric()
            && !(before.is_ascii_digit() && after.is_ascii_digit())
        {
            plain.push(' ');
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn nul_is_removed_wherever_it_is() {
        let mut value = json!({"a": "x\u{0}y", "b": [{"c": "\u{0}z"}]});
        remove_nul(&mut value);
        assert_eq!(value, json!({"a": "xy", "b": [{"c": "z"}]}));
    }

    #[test]
    fn a_line_break_becomes_a_space_where_text_has_one_line() {
        assert_eq!(one_line("Ann\r\n\tLee\u{7}\u{7f}"), "Ann Lee");
        assert_eq!(one_line("x\u{2029}y"), "x y");
        assert_eq!(several_lines("a\r\nb\tc\u{2028}d"), "a\nb\tc\nd");
    }

    #[test]
    fn control_and_reordering_characters_are_unfit_and_joiners_are_not() {
        for text in ["\u{7}", "\u{1b}[31m", "\u{9f}", "a\u{202e}b", "\u{2066}", "\u{2069}"] {
            assert!(is_unfit(text), "{text:?}");
        }
        for text in ["a\nb\tc", "क्‍ष", "می‌خواهم", "👩‍👩‍👧", "\u{200e}", "é"]
        {
            assert!(!is_unfit(text), "{text:?}");
        }
        assert_eq!(joined_lines("a\u{200b}b\u{feff}\n c"), "ab  c");
    }

    #[test]
    fn a_long_text_is_shortened_between_characters() {
        assert_eq!(shortened("héllo", 5), "héllo");
        assert_eq!(shortened("héllo", 3), "hé…");
        assert_eq!((shortened("", 0), shortened("a", 0)), (String::new(), "…".to_owned()));
    }

    #[test]
    fn names_keep_their_meaning_without_links() {
        for (text, plain) in [
            ("Monsoon Jazz Night", "Monsoon Jazz Night"),
            ("Dr. Rao at 7.30 p.m.", "Dr. Rao at 7.30 p. m."),
            ("Win at https://evil.example/a.b?c", "Win at https evil. example/a. b?c"),
            ("www.evil.com", "www. evil. com"),
            ("evil\u{3002}com, evil\u{ff0e}in", "evil\u{3002} com, evil\u{ff0e} in"),
            ("write to me@evil.co.in", "write to me@evil. co. in"),
            ("संगीत संध्या।", "संगीत संध्या।"),
        ] {
            assert_eq!(without_links(text), plain);
        }
    }

    #[test]
    fn tags_are_stripped() {
        assert_eq!(without_tags("Orga <b>Nizer</b>").as_deref(), Some("Orga Nizer"));
        assert_eq!(without_tags("<script>"), None);
        assert_eq!(without_tags("a<!-- b -->c</br>d<?php e?>").as_deref(), Some("acd"));
        // Removing a tag leaves no new tag behind.
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
            let other_breaks = ['\r', '\u{85}', '\u{2028}', '\u{2029}'];
            prop_assert!(!lines.contains(other_breaks));
            prop_assert_eq!(several_lines(&lines), lines);
        }

        #[test]
        fn text_without_links_has_no_name_of_a_host(text in "[a-c1.:/ \u{3002}]{0,24}") {
            let plain = without_links(&text);
            let is_host = |word: &str| {
                word.split(['.', '\u{3002}']).collect::<Vec<_>>().windows(2).any(|pair| {
                    !pair[0].is_empty() && pair[1].starts_with(|c: char| c.is_ascii_alphabetic())
                })
            };
            prop_assert!(!plain.split(' ').any(is_host), "{plain}");
            prop_assert!(!plain.contains("://"), "{plain}");
        }

        #[test]
        fn no_text_is_too_odd(text in ".*") {
            let _ = without_tags(&text);
        }
    }
}
