//! Ids that cannot be confused with one another. On the wire all of them are JSON numbers.

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i32);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<i32> for $name {
            fn from(id: i32) -> Self {
                $name(id)
            }
        }
    };
}

id!(
    /// `users.id`
    UserId
);
id!(
    /// `events.id`
    EventId
);
id!(
    /// `event_seat_types.id`
    SeatTypeId
);
id!(
    /// `bookings.id`
    BookingId
);
