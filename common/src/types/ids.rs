//! Ids that cannot be confused with one another. In the database and in JSON they are integers.

use serde::{Deserialize, Serialize};
use utoipa::openapi::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use uuid::Uuid;

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

/// Names a row of `sessions`, and is the `sid` of its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, sqlx::Type)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct SessionId(pub Uuid);

describe!(
    SessionId,
    "SessionId",
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::Custom("uuid".to_owned())))
);

/// Names a visit of a waiting room, without saying whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, sqlx::Type)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct VisitorId(pub Uuid);

describe!(
    VisitorId,
    "VisitorId",
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::Custom("uuid".to_owned())))
);

/// Names a scan of a ticket, and the check-in that it led to. Whoever scans chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, sqlx::Type)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct ScanId(pub Uuid);

describe!(
    ScanId,
    "ScanId",
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::Custom("uuid".to_owned())))
);

/// Stands for a network of clients, and does not say which
/// ([`AddressKey`](crate::audit::AddressKey)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub struct NetworkHash(pub i64);

id!(
    /// Names a row of `ticket_transfers`.
    TransferId(i32),
    KnownFormat::Int32
);
id!(
    /// Names a row of `event_notices`.
    NoticeId(i32),
    KnownFormat::Int32
);
id!(
    /// Names a row of `users`.
    UserId(i32),
    KnownFormat::Int32
);
id!(
    /// Names a row of `events`.
    EventId(i32),
    KnownFormat::Int32
);
id!(
    /// Names a row of `event_seat_types`.
    SeatTypeId(i32),
    KnownFormat::Int32
);
id!(
    /// Names a row of `seats`.
    SeatId(i32),
    KnownFormat::Int32
);
id!(
    /// Names a row of `bookings`.
    BookingId(i32),
    KnownFormat::Int32
);
id!(
    /// Names a row of `tickets`.
    TicketId(i32),
    KnownFormat::Int32
);
id!(
    /// Names a row of `gates`.
    GateId(i32),
    KnownFormat::Int32
);
id!(
    /// Names a row of `door_keys`.
    DoorKeyId(i32),
    KnownFormat::Int32
);
id!(
    /// Names a row of `refunds`.
    RefundId(i64),
    KnownFormat::Int64
);
id!(
    /// Names a row of `webhook_events`.
    WebhookId(i64),
    KnownFormat::Int64
);
