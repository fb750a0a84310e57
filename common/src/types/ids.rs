//! Ids that cannot be confused with one another. They are integers in the database and in JSON.

use serde::{Deserialize, Serialize};
use utoipa::openapi::{KnownFormat, ObjectBuilder, SchemaFormat, Type};

use super::schemas::describe;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($integer:ty), $format:expr) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
            Serialize, Deserialize, sqlx::Type,
        )]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(pub $integer);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$integer> for $name {
            fn from(id: $integer) -> Self {
                $name(id)
            }
        }

        describe!(
            $name,
            stringify!($name),
            ObjectBuilder::new()
                .schema_type(Type::Integer)
                .format(Some(SchemaFormat::KnownFormat($format)))
                .minimum(Some(1))
        );
    };
}

id!(
    /// `users.id`
    UserId(i32),
    KnownFormat::Int32
);
id!(
    /// `events.id`
    EventId(i32),
    KnownFormat::Int32
);
id!(
    /// `event_seat_types.id`
    SeatTypeId(i32),
    KnownFormat::Int32
);
id!(
    /// `seats.id`
    SeatId(i32),
    KnownFormat::Int32
);
id!(
    /// `bookings.id`
    BookingId(i32),
    KnownFormat::Int32
);
id!(
    /// `tickets.id`
    TicketId(i32),
    KnownFormat::Int32
);
id!(
    /// `refunds.id`
    RefundId(i64),
    KnownFormat::Int64
);
id!(
    /// `webhook_events.id`
    WebhookId(i64),
    KnownFormat::Int64
);
