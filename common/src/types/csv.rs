//! CSV (RFC 4180), for people with spreadsheets.

/// Text from outside: quoted where CSV needs it, and never a formula to the spreadsheet that opens
/// it.
pub fn text(value: &str) -> String {
    let guarded = match value.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) {
        true => format!("'{value}"),
        false => value.to_owned(),
    };
    match guarded.contains(['"', ',', '\r', '\n']) {
        true => format!("\"{}\"", guarded.replace('"', "\"\"")),
        false => guarded,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_quoted_and_never_a_formula() {
        assert_eq!(text("pay_1"), "pay_1");
        assert_eq!(text("a,b"), "\"a,b\"");
        assert_eq!(text("say \"hi\""), "\"say \"\"hi\"\"\"");
        assert_eq!(text("=1+1"), "'=1+1");
        assert_eq!(text("@SUM(A1,A2)"), "\"'@SUM(A1,A2)\"");
        assert_eq!(text("-1\n2"), "\"'-1\n2\"");
    }

    proptest! {
        #[test]
        fn a_field_is_one_field_and_no_formula(value in ".*") {
            let field = text(&value);
            let inner = match field.strip_prefix('"') {
                None => {
                    prop_assert!(!field.contains([',', '"', '\r', '\n']));
                    field.clone()
                }
                Some(quoted) => quoted.strip_suffix('"').unwrap().replace("\"\"", "\u{1}"),
            };
            prop_assert!(!inner.contains('"'));
            prop_assert!(!inner.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']));
        }
    }
}
