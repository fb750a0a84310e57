//! Amounts of money: whole paise inside, rupees with up to two decimals on the wire and in
//! NUMERIC(10,2) columns.

use serde::{Deserialize, Serialize, Serializer};
use sqlx::{
    Decode, Encode, Postgres, Type as SqlType, ValueRef,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef},
    types::Decimal,
};
use utoipa::openapi::{ObjectBuilder, Type};

use super::schemas::describe;

/// The only currency that Nexus sells in.
pub const CURRENCY: &str = "INR";

/// A hundredth of a rupee. Never negative, never fractional, and small enough for NUMERIC(10,2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub struct Paise(i64);

describe!(
    Paise,
    "Rupees",
    ObjectBuilder::new()
        .schema_type(Type::Number)
        .minimum(Some(0))
        .maximum(Some(99_999_999.99))
        .description(Some("An amount in rupees, with up to two decimals."))
        .examples([1500.5])
);

/// An amount as people write it: `₹1,00,000.50`, `-₹100.00`, `USD 12.00`. For alerts, messages,
/// pages and logs; the wire has numbers.
pub fn written(paise: i64, currency: &str) -> String {
    let sign = if paise < 0 { "-" } else { "" };
    let symbol = if currency == CURRENCY { "₹".to_owned() } else { format!("{currency} ") };
    let paise = paise.unsigned_abs();
    format!("{sign}{symbol}{}.{:02}", grouped(paise / 100), paise % 100)
}

/// Thousands, then hundreds of those: `12,34,567`.
fn grouped(number: u64) -> String {
    let (mut rest, thousand) = (number / 1000, number % 1000);
    if rest == 0 {
        return thousand.to_string();
    }
    let mut text = format!(",{thousand:03}");
    while rest >= 100 {
        text.insert_str(0, &format!(",{:02}", rest % 100));
        rest /= 100;
    }
    format!("{rest}{text}")
}

impl Paise {
    /// As people write it: see [`written`].
    pub fn written(self) -> String {
        written(self.0, CURRENCY)
    }

    pub const ZERO: Paise = Paise(0);
    pub const RUPEE: Paise = Paise(100);
    /// The largest amount that a NUMERIC(10,2) column holds.
    pub const MAX: Paise = Paise(9_999_999_999);

    /// `paise` hundredths, or the nearest amount that can be stored.
    pub fn nearest(paise: i64) -> Self {
        Paise(paise.clamp(0, Self::MAX.0))
    }

    /// `paise` hundredths, unless that is negative or too much to store.
    pub fn new(paise: i64) -> Option<Self> {
        (0..=Self::MAX.0).contains(&paise).then_some(Paise(paise))
    }

    /// Rounds rupees to the nearest paisa, as NUMERIC(10,2) did for the Node service. `None` for
    /// NaN, negative and huge amounts.
    pub fn from_rupees(rupees: f64) -> Option<Self> {
        if !(0.0..=99_999_999.99).contains(&rupees) {
            return None;
        }
        Paise::new((rupees * 100.0).round() as i64)
    }

    /// The number of paise, as Razorpay counts.
    pub fn get(self) -> i64 {
        self.0
    }

    /// The sum, unless it is too much to store.
    pub fn checked_add(self, other: Paise) -> Option<Self> {
        Paise::new(self.0 + other.0)
    }
}

impl std::fmt::Display for Paise {
    /// Rupees with two decimals, as the contract's messages have them: `1500.50`. For people, see
    /// [`written`].
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl Serialize for Paise {
    /// A JSON number of rupees, as JavaScript would print it: 1500.5, and 500 rather than 500.0.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 % 100 == 0 {
            serializer.serialize_i64(self.0 / 100)
        } else {
            serializer.serialize_f64(self.0 as f64 / 100.0)
        }
    }
}

/// NUMERIC columns hold rupees, BIGINT columns paise: both can be read, and NUMERIC is written.
/// Amounts of the ledger, which have signs and various currencies, are `i64`.
impl SqlType<Postgres> for Paise {
    fn type_info() -> PgTypeInfo {
        Decimal::type_info()
    }

    fn compatible(column: &PgTypeInfo) -> bool {
        Decimal::compatible(column) || <i64 as SqlType<Postgres>>::compatible(column)
    }
}

impl PgHasArrayType for Paise {
    fn array_type_info() -> PgTypeInfo {
        Decimal::array_type_info()
    }
}

impl Encode<'_, Postgres> for Paise {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Postgres>::encode(Decimal::new(self.0, 2), buffer)
    }
}

impl Decode<'_, Postgres> for Paise {
    /// The schema's checks have refused negative amounts; a sum may be too large to store.
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        let paise = if <i64 as SqlType<Postgres>>::compatible(&value.type_info()) {
            <i64 as Decode<Postgres>>::decode(value)?
        } else {
            let rupees = <Decimal as Decode<Postgres>>::decode(value)?;
            // An existing installation's columns may hold fractions of a paisa.
            let paise = rupees.checked_mul(Decimal::ONE_HUNDRED);
            let nearest = paise.map(|paise| (paise + Decimal::new(5, 1)).floor());
            nearest
                .and_then(|paise| i64::try_from(paise).ok())
                .ok_or_else(|| format!("{rupees} rupees are more than can be counted"))?
        };
        Ok(Paise::nearest(paise))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_look_as_javascript_prints_them() {
        let shown = |paise| serde_json::to_string(&Paise::new(paise).unwrap()).unwrap();
        assert_eq!(shown(150_050), "1500.5");
        assert_eq!(shown(50_000), "500");
        assert_eq!(shown(1), "0.01");
        assert_eq!(Paise::new(150_050).unwrap().to_string(), "1500.50");
    }

    #[test]
    fn people_read_amounts_as_they_write_them() {
        let amounts =
            [(10_000, "₹100.00"), (-10_000, "-₹100.00"), (7, "₹0.07"), (99_999, "₹999.99")];
        let large = [
            (100_050, "₹1,000.50"),
            (10_000_000, "₹1,00,000.00"),
            (1_234_567_800, "₹1,23,45,678.00"),
        ];
        for (paise, text) in amounts.into_iter().chain(large) {
            assert_eq!(written(paise, "INR"), text);
        }
        assert_eq!(written(1_200, "USD"), "USD 12.00");
        assert_eq!(written(i64::MIN, "INR"), "-₹92,23,37,20,36,85,47,758.08");
    }

    #[test]
    fn what_is_not_an_amount_is_refused() {
        for rupees in [f64::NAN, f64::INFINITY, -0.01, 1e9] {
            assert_eq!(Paise::from_rupees(rupees), None);
        }
        assert_eq!(Paise::from_rupees(499.999), Paise::new(50_000));
    }

    proptest! {
        #[test]
        fn an_amount_survives_the_wire(paise in 0..=Paise::MAX.get()) {
            let amount = Paise::new(paise).unwrap();
            let wire: f64 = serde_json::from_str(&serde_json::to_string(&amount).unwrap()).unwrap();
            prop_assert_eq!(Paise::from_rupees(wire), Some(amount));
        }
    }
}
