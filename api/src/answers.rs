//! What operations answer: the `data` of each, where it is more than one thing of the domain.

use nexus_common::{
    accounts::users::User,
    events::{broadcasts, event::EventUpdated, seat_types::SeatType},
    seats::lock::Lock,
    types::{
        ids::{EventId, SeatTypeId},
        seats::SeatLabel,
    },
};
use serde::Serialize;
use utoipa::ToSchema;

/// A sentence for people.
#[derive(Serialize, ToSchema)]
pub(crate) struct Message {
    pub(crate) message: &'static str,
}

/// Who the caller is.
#[derive(Serialize, ToSchema)]
pub(crate) struct Me {
    pub(crate) user: User,
}

/// Somebody has logged in.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LoggedIn {
    pub(crate) user: User,
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
    pub(crate) message: &'static str,
}

/// Somebody has logged in with a one-time password.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OtpVerified {
    #[serde(flatten)]
    pub(crate) login: LoggedIn,
    pub(crate) is_new_user: bool,
}

/// A new access token.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Refreshed {
    pub(crate) access_token: String,
    pub(crate) message: &'static str,
}

/// A one-time password is on its way.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OtpSent {
    pub(crate) success: bool,
    pub(crate) message: &'static str,
    pub(crate) status: &'static str,
    pub(crate) expires_in: &'static str,
}

/// Whether a username is free.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UsernameChecked {
    pub(crate) is_available: bool,
    pub(crate) username: String,
    pub(crate) message: &'static str,
}

/// The password is another one, and every session has ended.
#[derive(Serialize, ToSchema)]
pub(crate) struct PasswordReset {
    pub(crate) message: &'static str,
    pub(crate) security_note: &'static str,
}

/// Every session has ended.
#[derive(Serialize, ToSchema)]
pub(crate) struct LoggedOutOfAll {
    pub(crate) message: &'static str,
    pub(crate) sessions_ended: usize,
}

/// An event has been created.
#[derive(Serialize, ToSchema)]
pub(crate) struct CreatedEvent {
    #[serde(flatten)]
    pub(crate) news: broadcasts::EventCreated,
    pub(crate) message: String,
}

/// An event has been changed.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChangedEvent {
    pub(crate) event: EventUpdated,
    pub(crate) message: &'static str,
}

/// A seat type has been created or changed.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChangedSeatType {
    pub(crate) seat_type: SeatType,
    pub(crate) message: &'static str,
}

/// A seat type is gone.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeletedSeatType {
    pub(crate) message: String,
    pub(crate) deleted_seat_type_id: SeatTypeId,
}

/// A seat is locked.
#[derive(Serialize, ToSchema)]
pub(crate) struct LockedSeat {
    pub(crate) lock: Lock,
    pub(crate) message: String,
    pub(crate) expires_in_seconds: u64,
    /// Whether Redis took part in the decision.
    pub(crate) cache_hit: bool,
}

/// Several seats are locked.
#[derive(Serialize, ToSchema)]
pub(crate) struct LockedSeats {
    pub(crate) locks: Vec<Lock>,
    pub(crate) message: String,
    pub(crate) expires_in_seconds: u64,
}

/// A lock lives on.
#[derive(Serialize, ToSchema)]
pub(crate) struct ExtendedLock {
    pub(crate) lock: Lock,
    pub(crate) message: String,
    pub(crate) expires_in_seconds: i64,
}

/// A seat is given back.
#[derive(Serialize, ToSchema)]
pub(crate) struct UnlockedSeat {
    pub(crate) event_id: EventId,
    pub(crate) seat_type_id: SeatTypeId,
    pub(crate) seat_label: SeatLabel,
    pub(crate) available_quantity: i32,
    pub(crate) message: String,
}

/// The event whose news a socket wants, or does not want any more.
#[derive(Serialize, ToSchema)]
pub(crate) struct Joined {
    pub(crate) event_id: EventId,
}

/// The process lives, and how its servers are.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    pub(crate) status: &'static str,
    pub(crate) version: &'static str,
    pub(crate) checks: Checks,
}

/// Whether the process can serve.
#[derive(Serialize, ToSchema)]
pub(crate) struct Readiness {
    pub(crate) status: &'static str,
    pub(crate) checks: Checks,
}

/// `ok` or `failed`.
#[derive(Serialize, ToSchema)]
pub(crate) struct Checks {
    pub(crate) postgresql: &'static str,
    pub(crate) redis: &'static str,
    pub(crate) migrations: &'static str,
}

impl Checks {
    pub(crate) const OK: &'static str = "ok";
    pub(crate) const FAILED: &'static str = "failed";

    pub(crate) fn all_ok(&self) -> bool {
        [self.postgresql, self.redis, self.migrations].iter().all(|check| *check == Self::OK)
    }
}

/// A webhook is stored.
#[derive(Serialize, ToSchema)]
pub(crate) struct WebhookStored {
    pub(crate) success: bool,
    pub(crate) message: &'static str,
}

/// A webhook is refused; Razorpay reads no more than this.
#[derive(Serialize, ToSchema)]
pub(crate) struct WebhookRefused {
    pub(crate) success: bool,
    pub(crate) error: String,
}
