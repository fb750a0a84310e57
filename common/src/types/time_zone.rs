//! Time zones of the IANA database, in which people are told the time. On the wire, times are UTC.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use serde::{Serialize, Serializer};
use sqlx::{
    Decode, Encode, Postgres, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgTypeInfo, PgValueRef},
};
use utoipa::openapi::{ObjectBuilder, Type as SchemaType};

use super::{schemas::describe, time::Timestamp};

/// A time zone: `Asia/Kolkata`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeZone(Tz);

describe!(
    TimeZone,
    "TimeZone",
    ObjectBuilder::new()
        .schema_type(SchemaType::String)
        .description(Some("A time zone, by its name in the IANA database."))
        .examples(["Asia/Kolkata"])
);

impl TimeZone {
    /// The zone of events that were created before events had one.
    pub const KOLKATA: Self = TimeZone(Tz::Asia__Kolkata);

    /// The names of all of them.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TZ_VARIANTS.iter().copied().map(Tz::name)
    }

    /// Reads its name.
    pub fn parse(name: &str) -> Option<Self> {
        Tz::from_str(name).ok().map(TimeZone)
    }

    /// A moment in this zone.
    pub fn at(self, time: Timestamp) -> DateTime<Tz> {
        time.0.with_timezone(&self.0)
    }

    /// A moment in words: `Thursday, 1 May 2031, 18:00 IST (Asia/Kolkata)`.
    pub fn moment(self, time: impl Into<DateTime<Utc>>) -> String {
        let time = time.into().with_timezone(&self.0);
        let (zone, name) = (abbreviation(&time), self.0.name());
        time.format("%A, %-d %B %Y, %H:%M ").to_string() + &zone + " (" + name + ")"
    }

    /// The same for an SMS: `1 May 2031, 18:00 IST`.
    pub fn short_moment(self, time: impl Into<DateTime<Utc>>) -> String {
        let time = time.into().with_timezone(&self.0);
        time.format("%-d %b %Y, %H:%M ").to_string() + &abbreviation(&time)
    }
}

/// `IST`; for a zone without letters `UTC+03`.
fn abbreviation(time: &DateTime<Tz>) -> String {
    let zone = time.format("%Z").to_string();
    if zone.starts_with(['+', '-']) { format!("UTC{zone}") } else { zone }
}

impl From<Timestamp> for DateTime<Utc> {
    fn from(time: Timestamp) -> Self {
        time.0
    }
}

impl Serialize for TimeZone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

impl Type<Postgres> for TimeZone {
    fn type_info() -> PgTypeInfo {
        <&str as Type<Postgres>>::type_info()
    }

    fn compatible(ty: &PgTypeInfo) -> bool {
        <&str as Type<Postgres>>::compatible(ty)
    }
}

impl Encode<'_, Postgres> for TimeZone {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <&str as Encode<Postgres>>::encode(self.0.name(), buffer)
    }
}

impl<'r> Decode<'r, Postgres> for TimeZone {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        let name = <&str as Decode<Postgres>>::decode(value)?;
        // Somebody may have written it by hand, or a later release. A wrong hour, which says that it
        // is UTC, is better than no page at all.
        Ok(TimeZone(Tz::from_str(name).unwrap_or_else(|_| {
            tracing::error!(name, "an event's time zone is not known here; it is shown in UTC");
            Tz::UTC
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(zone: &str, time: &str) -> String {
        TimeZone::parse(zone).unwrap().moment(Timestamp::parse(time).unwrap())
    }

    #[test]
    fn a_moment_is_told_with_its_zone() {
        for (zone, time, words) in [
            (
                "Asia/Kolkata",
                "2031-05-01T18:30:00Z",
                "Friday, 2 May 2031, 00:00 IST (Asia/Kolkata)",
            ),
            // Before and after clocks change.
            (
                "Europe/Berlin",
                "2031-03-30T00:59:00Z",
                "Sunday, 30 March 2031, 01:59 CET (Europe/Berlin)",
            ),
            (
                "Europe/Berlin",
                "2031-03-30T01:00:00Z",
                "Sunday, 30 March 2031, 03:00 CEST (Europe/Berlin)",
            ),
            (
                "Asia/Riyadh",
                "2031-05-01T18:00:00Z",
                "Thursday, 1 May 2031, 21:00 UTC+03 (Asia/Riyadh)",
            ),
        ] {
            assert_eq!(moment(zone, time), words);
        }
        let time = Timestamp::parse("2031-05-01T12:30:00Z").unwrap();
        assert_eq!(TimeZone::KOLKATA.short_moment(time), "1 May 2031, 18:00 IST");
    }

    #[test]
    fn a_zone_is_one_of_the_database() {
        assert_eq!(TimeZone::parse("Asia/Kolkata"), Some(TimeZone::KOLKATA));
        for name in ["", "IST", "UTC+5", "+05:30", "Asia/Mumbai", "asia/kolkata", "Asia/Kolkata\0"]
        {
            assert_eq!(TimeZone::parse(name), None, "{name}");
        }
    }
}
