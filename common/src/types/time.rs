//! Points in time as the wire shows them: ISO-8601, UTC, exactly three decimals
//! (docs/contract.md#notation).

use std::time::Duration;

use chrono::{
    DateTime, Datelike, NaiveDate, NaiveDateTime, SecondsFormat, SubsecRound, Timelike, Utc,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use utoipa::openapi::{KnownFormat, ObjectBuilder, SchemaFormat, Type};

use super::schemas::describe;

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, sqlx::Type)]
#[sqlx(transparent)]
pub struct Timestamp(pub DateTime<Utc>);

describe!(
    Timestamp,
    "Timestamp",
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .pattern(Some(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"))
        .description(Some("ISO-8601, UTC, exactly three decimals."))
        .examples(["2031-05-01T18:00:00.000Z"])
);

impl Timestamp {
    /// Now, to the millisecond.
    pub fn now() -> Self {
        Timestamp(Utc::now().trunc_subsecs(3))
    }

    /// Reads a time that people or programs write: a date and a time, separated by `T` or a space,
    /// with or without seconds and decimals, and with or without a zone (default UTC); or only a
    /// date. It keeps only what can be displayed: milliseconds; no leap seconds, which neither
    /// PostgreSQL nor JavaScript has; and years of four digits, because the contract's format has
    /// no others, and PostgreSQL does not store all of them.
    pub fn parse(text: &str) -> Option<Self> {
        let time = read(text.trim())?;
        let leaps = time.nanosecond() >= 1_000_000_000;
        ((1..=9999).contains(&time.year()) && !leaps).then(|| Timestamp(time.trunc_subsecs(3)))
    }
}

fn read(text: &str) -> Option<DateTime<Utc>> {
    for format in
        ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]
    {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
            return Some(time.and_utc());
        }
        if let Ok(time) = DateTime::parse_from_str(text, &format!("{format}%#z")) {
            return Some(time.to_utc());
        }
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(date.and_hms_opt(0, 0, 0)?.and_utc())
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(time: DateTime<Utc>) -> Self {
        Timestamp(time)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Timestamp::parse(&text).ok_or_else(|| D::Error::custom("not a date"))
    }
}

/// A duration for people: whole minutes where possible.
pub fn in_words(duration: Duration) -> String {
    match duration.as_secs() {
        60 => "1 minute".into(),
        seconds if seconds % 60 == 0 => format!("{} minutes", seconds / 60),
        seconds => format!("{seconds} seconds"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(time: Timestamp) -> String {
        serde_json::from_value(serde_json::to_value(time).unwrap()).unwrap()
    }

    #[test]
    fn three_decimals_always() {
        for (text, expected) in [
            ("2031-05-01T18:00:00Z", "2031-05-01T18:00:00.000Z"),
            ("2031-05-01t18:00:00z", "2031-05-01T18:00:00.000Z"),
            ("2031-05-01T18:00:00.123456+05:30", "2031-05-01T12:30:00.123Z"),
            ("2031-05-01T18:00Z", "2031-05-01T18:00:00.000Z"),
            ("2031-05-01T18:00+05:30", "2031-05-01T12:30:00.000Z"),
            ("2031-05-01 18:00-0330", "2031-05-01T21:30:00.000Z"),
            ("2031-05-01T18:00:59+05", "2031-05-01T13:00:59.000Z"),
            ("2031-05-01 18:00", "2031-05-01T18:00:00.000Z"),
            ("2031-05-01", "2031-05-01T00:00:00.000Z"),
        ] {
            assert_eq!(Timestamp::parse(text).map(shown).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_point_in_time_is_refused() {
        for text in [
            "2031-05-01T18:00:60Z",
            "2016-12-31T23:59:60Z",
            "2031-05-01T18:00:60",
            "2031-05-01T24:00",
            "2031-05-01T18:00+25:00",
            "2031-05-01T18Z",
            "2031-02-29T18:00Z",
            "2031-05-01T18:00[Asia/Kolkata]",
            "tomorrow",
            "",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_year_has_four_digits() {
        assert!(Timestamp::parse("9999-12-31T23:59:59Z").is_some());
        for text in [
            "0000-12-31",
            "-0044-03-15",
            "+10000-01-01",
            "+262142-01-01",
            "9999-12-31T23:59:59-01:00",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn deadlines_are_told_in_minutes_where_possible() {
        assert_eq!(in_words(Duration::from_secs(900)), "15 minutes");
        assert_eq!(in_words(Duration::from_secs(5)), "5 seconds");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_what_is_read(
            date in "(20|19)[0-9]{2}-(0[1-9]|1[0-2])-[0-3][0-9]",
            time in "[T ][0-2][0-9]:[0-6][0-9](:[0-6][0-9](\\.[0-9]{1,9})?)?",
            zone in "(Z|[+-][01][0-9]:?[0-5][0-9])?",
        ) {
            if let Some(time) = Timestamp::parse(&format!("{date}{time}{zone}")) {
                let text = shown(time);
                prop_assert_eq!(text.len(), "2031-05-01T18:00:00.000Z".len());
                prop_assert_eq!(Timestamp::parse(&text), Some(time));
            }
        }

        #[test]
        fn no_text_is_too_odd(text in ".*") {
            let _ = Timestamp::parse(&text);
        }
    }
}
