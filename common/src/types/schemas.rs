//! How the types that everything is made of look in the API's documents. Structs derive their
//! description where they are defined; these say more than their Rust type does.

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type},
};

use super::{
    ids::{BookingId, EventId, SeatTypeId, UserId},
    money::Paise,
    seats::SeatLabel,
    time::Timestamp,
};

/// Describes a type under that name.
macro_rules! describe {
    ($type:ty, $name:expr, $schema:expr) => {
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                $schema.into()
            }
        }

        impl ToSchema for $type {
            fn name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }
        }
    };
}

describe!(UserId, "UserId", id());
describe!(EventId, "EventId", id());
describe!(SeatTypeId, "SeatTypeId", id());
describe!(BookingId, "BookingId", id());

fn id() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)))
        .minimum(Some(1))
}

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

describe!(
    SeatLabel,
    "SeatLabel",
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^[A-Z0-9]{1,20}$"))
        .description(Some("Unique within its seat type."))
        .examples(["V1"])
);

/// A column's words, for the documents; the column itself is text.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident: $($word:literal),+) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $name {}

        describe!($name, stringify!($name), ObjectBuilder::new().schema_type(Type::String).enum_values(Some([$($word),+])));
    };
}

words!(
    /// `bookings.status`
    BookingStatus: "pending", "confirmed", "cancelled", "expired"
);
words!(
    /// `bookings.payment_status`
    PaymentStatus: "pending", "failed", "completed", "refunded", "cancelled"
);
words!(
    /// `seats.status`
    SeatStatus: "locked", "booked"
);
words!(
    /// How far the tickets of a booking are
    Printing: "pending", "generating", "partial", "ready"
);
words!(
    /// How far a job is, in the words of the queue that the Node service used
    JobStatus: "waiting", "active", "completed", "failed", "delayed"
);
words!(
    /// `tickets.status`
    TicketStatus: "pending", "generated", "sent", "delivered", "failed", "cancelled", "used"
);
