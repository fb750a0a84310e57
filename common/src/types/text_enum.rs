//! Enums of words: for text columns, JSON and the API documents. [`text_enum`] makes all three from
//! one definition, so that each word is written once.

/// A word that no variant has. A newer release may know it: code that reads it from the database
/// must not guess its meaning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not known to this release")]
pub struct UnknownWord(pub String);

/// Defines an enum with a word for each variant: `ALL`, `name()`, `Display` and `FromStr`; serde as
/// that word; a schema that lists the words; and a TEXT or VARCHAR column of PostgreSQL.
macro_rules! text_enum {
    (
        $(#[doc = $doc:literal])+
        pub enum $name:ident {
            $($(#[doc = $about:literal])* $variant:ident = $word:literal,)+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[doc = $about])* $variant,)+
        }

        impl $name {
            /// Every variant, in the order of the definition.
            pub const ALL: [$name; [$($word),+].len()] = [$($name::$variant),+];

            /// The word for it.
            pub const fn name(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::types::text_enum::UnknownWord;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                $name::ALL
                    .into_iter()
                    .find(|known| known.name() == word)
                    .ok_or_else(|| $crate::types::text_enum::UnknownWord(word.to_owned()))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let word = <String as serde::Deserialize>::deserialize(from)?;
                word.parse().map_err(serde::de::Error::custom)
            }
        }

        $crate::types::schemas::describe!(
            $name,
            stringify!($name),
            utoipa::openapi::ObjectBuilder::new()
                .schema_type(utoipa::openapi::Type::String)
                .description(Some(concat!($($doc, "\n"),+).replace("\n ", "\n").trim()))
                .enum_values(Some($name::ALL.map($name::name)))
        );

        impl sqlx::Type<sqlx::Postgres> for $name {
            fn type_info() -> sqlx::postgres::PgTypeInfo {
                <str as sqlx::Type<sqlx::Postgres>>::type_info()
            }

            fn compatible(column: &sqlx::postgres::PgTypeInfo) -> bool {
                <str as sqlx::Type<sqlx::Postgres>>::compatible(column)
            }
        }

        impl sqlx::postgres::PgHasArrayType for $name {
            fn array_type_info() -> sqlx::postgres::PgTypeInfo {
                <&str as sqlx::postgres::PgHasArrayType>::array_type_info()
            }
        }

        impl sqlx::Encode<'_, sqlx::Postgres> for $name {
            fn encode_by_ref(
                &self,
                buffer: &mut sqlx::postgres::PgArgumentBuffer,
            ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
                sqlx::Encode::<sqlx::Postgres>::encode(self.name(), buffer)
            }
        }

        impl<'r> sqlx::Decode<'r, sqlx::Postgres> for $name {
            fn decode(
                value: sqlx::postgres::PgValueRef<'r>,
            ) -> Result<Self, sqlx::error::BoxDynError> {
                Ok(<&str as sqlx::Decode<sqlx::Postgres>>::decode(value)?.parse()?)
            }
        }
    };
}

pub(crate) use text_enum;

#[cfg(test)]
mod tests {
    use utoipa::PartialSchema;

    use super::{super::statuses::BookingStatus, UnknownWord};

    #[test]
    fn a_word_is_the_same_to_people_json_and_the_documents() {
        for status in BookingStatus::ALL {
            assert_eq!(status.to_string().parse(), Ok(status));
            assert_eq!(serde_json::to_value(status).unwrap(), status.name());
            assert_eq!(
                serde_json::from_value::<BookingStatus>(status.name().into()).unwrap(),
                status
            );
        }
        let schema = serde_json::to_value(BookingStatus::schema()).unwrap();
        assert_eq!(
            schema["enum"],
            serde_json::json!(["pending", "confirmed", "cancelled", "expired"])
        );
    }

    #[test]
    fn a_word_of_a_newer_release_is_refused_by_name() {
        assert_eq!("on_hold".parse::<BookingStatus>(), Err(UnknownWord("on_hold".into())));
    }
}
