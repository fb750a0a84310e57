//! The payments ledger as CSV (RFC 4180), for accountants and their spreadsheets.

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use sqlx::PgConnection;

use super::{input::Input, time::Timestamp};
use crate::error::{Error, Result};

/// The first line.
pub const HEADER: &str =
    "id,created_at,kind,booking_id,booking_reference,order_id,payment_id,amount,currency\r\n";

/// Rows that are fetched at once.
const PAGE: i64 = 1_000;

/// Which rows: from the first moment on, up to the second one, which is not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
}

impl Range {
    /// Reads `from` and `to`: a time, or a day, of which `to` includes the whole. Absent ones mean always.
    pub fn parse(input: &Input) -> Result<Self> {
        let moment = |field: &str, day_after: i64| match input.filled(field) {
            None => Ok(None),
            Some(text) => moment(text, day_after).map(Some).ok_or_else(|| {
                Error::invalid(format!("{field} must be a day such as 2026-11-25, or a time in RFC 3339"))
            }),
        };
        let from = moment("from", 0)?.unwrap_or(DateTime::<Utc>::UNIX_EPOCH);
        let to = moment("to", 1)?.unwrap_or_else(Utc::now);
        if to < from { Err(Error::invalid("to must not be before from")) } else { Ok(Range { from, to }) }
    }
}

fn moment(text: &str, day_after: i64) -> Option<DateTime<Utc>> {
    if let Ok(day) = text.parse::<NaiveDate>() {
        let day = day.checked_add_signed(chrono::TimeDelta::days(day_after))?;
        return Some(day.and_hms_opt(0, 0, 0)?.and_utc());
    }
    Some(Timestamp::parse(text)?.0)
}

/// The rows after the one with the id `after`, as lines, and the id of the last; `None` when there are no more.
pub async fn page(conn: &mut PgConnection, range: Range, after: i64) -> Result<Option<(String, i64)>> {
    let rows = sqlx::query!(
        r#"SELECT p.id, p.created_at, p.kind, p.booking_id, b.booking_reference AS "reference?", p.order_id, p.payment_id, p.amount_paise, p.currency
           FROM payments p LEFT JOIN bookings b ON b.id = p.booking_id
           WHERE p.id > $1 AND p.created_at >= $2 AND p.created_at < $3 ORDER BY p.id LIMIT $4"#,
        after,
        range.from,
        range.to,
        PAGE,
    )
    .fetch_all(conn)
    .await?;
    let Some(last) = rows.last().map(|row| row.id) else { return Ok(None) };
    let mut lines = String::with_capacity(rows.len() * 128);
    for row in rows {
        let fields = [
            row.id.to_string(),
            row.created_at.to_rfc3339_opts(SecondsFormat::Millis, true),
            text(&row.kind),
            row.booking_id.map(|id| id.to_string()).unwrap_or_default(),
            text(row.reference.as_deref().unwrap_or_default()),
            text(row.order_id.as_deref().unwrap_or_default()),
            text(&row.payment_id),
            amount(row.amount_paise),
            text(&row.currency),
        ];
        lines.push_str(&fields.join(","));
        lines.push_str("\r\n");
    }
    Ok(Some((lines, last)))
}

/// Rupees with two decimals and their sign. A number, so that a spreadsheet can add it up.
fn amount(paise: i64) -> String {
    let sign = if paise < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", paise.unsigned_abs() / 100, paise.unsigned_abs() % 100)
}

/// Text that comes from elsewhere: quoted where CSV needs it, and never a formula to the spreadsheet that opens it.
fn text(value: &str) -> String {
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
    use serde_json::json;

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

    #[test]
    fn amounts_are_numbers_of_rupees() {
        assert_eq!([amount(150_050), amount(-150_050), amount(-7)], ["1500.50", "-1500.50", "-0.07"]);
    }

    #[test]
    fn a_day_is_meant_as_a_whole() {
        let range = |from: &str, to: &str| Range::parse(&Input::from(json!({"from": from, "to": to})));
        let november = range("2026-11-01", "2026-11-30").unwrap();
        assert_eq!(november, range("2026-11-01T00:00:00Z", "2026-12-01T05:30:00+05:30").unwrap());
        assert!(range("2026-11-02", "2026-10-01").is_err());
        assert!(range("yesterday", "2026-10-01").is_err());
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
