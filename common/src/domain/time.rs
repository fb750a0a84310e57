//! Points in time as the wire shows them: ISO-8601, UTC, exactly three decimals (CONTRACT.md, notation).

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, SecondsFormat, SubsecRound, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub DateTime<Utc>);

impl Timestamp {
    /// Now, to the millisecond.
    pub fn now() -> Self {
        Timestamp(Utc::now().trunc_subsecs(3))
    }

    /// Reads what frontends send: RFC 3339, or a date with or without a time and without a zone, which then is UTC. Years have four digits:
    /// others cannot be shown as the contract says, and PostgreSQL does not store all of them.
    pub fn parse(text: &str) -> Option<Self> {
        Self::read(text.trim()).filter(|time| (1..=9999).contains(&time.0.year()))
    }

    fn read(text: &str) -> Option<Self> {
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            return Some(Timestamp(time.to_utc()));
        }
        for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"] {
            if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
                return Some(Timestamp(time.and_utc()));
            }
        }
        let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
        Some(Timestamp(date.and_hms_opt(0, 0, 0)?.and_utc()))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_decimals_always() {
        let shown = |text| serde_json::to_string(&Timestamp::parse(text).unwrap()).unwrap();
        assert_eq!(shown("2031-05-01T18:00:00Z"), "\"2031-05-01T18:00:00.000Z\"");
        assert_eq!(shown("2031-05-01T18:00:00.123456+05:30"), "\"2031-05-01T12:30:00.123Z\"");
        assert_eq!(shown("2031-05-01 18:00"), "\"2031-05-01T18:00:00.000Z\"");
        assert_eq!(shown("2031-05-01"), "\"2031-05-01T00:00:00.000Z\"");
    }

    #[test]
    fn a_year_has_four_digits() {
        assert!(Timestamp::parse("9999-12-31T23:59:59Z").is_some());
        for text in
            ["0000-12-31", "-0044-03-15", "+10000-01-01", "+262142-01-01", "9999-12-31T23:59:59-01:00"]
        {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }
}
