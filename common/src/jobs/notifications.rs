//! Jobs of the notifications queue. They call providers without idempotency keys, so they run **at
//! least once**: if a worker dies between the provider's "accepted" and the commit, the message is
//! sent again. The window is only that moment, and the e-mail's Message-ID is derived from the
//! booking, so that mail systems can recognise the copy.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Job, Queue, RetryPolicy};
use crate::types::{
    ids::{BookingId, NoticeId, RefundId, TransferId, UserId},
    text_enum::text_enum,
};

/// Somebody is waiting for the mail, which is about their account: before all that is about bookings.
const AWAITED: i16 = 9;
/// Mail and SMS have half of the slots each, so that neither holds up the other when its provider
/// hangs.
const SMS: i16 = 10;
const EMAIL: i16 = 11;
/// Reissued tickets, of which there may be hundreds of thousands at once: every other message goes
/// first.
const REISSUED: i16 = 12;

/// A booking, and to whom it matters unless that is its buyer.
fn of(booking: BookingId, to: Option<UserId>) -> String {
    match to {
        Some(user) => format!("{booking}:{user}"),
        None => booking.to_string(),
    }
}

/// E-mails a booking's tickets, QR codes attached, to a buyer who has an e-mail address.
#[derive(Debug, Serialize, Deserialize)]
pub struct EmailTickets {
    pub booking_id: BookingId,
    /// Whether they were sent before, with other codes.
    #[serde(default)]
    pub reissued: bool,
    /// Somebody else than the buyer: the owner of tickets that were transferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<UserId>,
}

impl Job for EmailTickets {
    const QUEUE: Queue = Queue::Notifications;
    const KIND: &'static str = "email_tickets";
    const RETRY: RetryPolicy = RetryPolicy::OUTBOUND;
    const PRIORITY: i16 = EMAIL;

    fn priority(&self) -> i16 {
        if self.reissued { REISSUED } else { EMAIL }
    }

    fn unique_key(&self) -> Option<String> {
        // Tickets come to others one by one: the mail about one may be under way when the next comes.
        self.to.is_none().then(|| Self::key(self.booking_id))
    }
}

/// Tells a buyer by SMS, if there is a phone number, that the tickets are ready.
#[derive(Debug, Serialize, Deserialize)]
pub struct SmsTickets {
    pub booking_id: BookingId,
    /// As in [`EmailTickets`]: whether they were sent before, with other codes.
    #[serde(default)]
    pub reissued: bool,
    /// Somebody else than the buyer: the owner of tickets that were transferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<UserId>,
}

impl Job for SmsTickets {
    const QUEUE: Queue = Queue::Notifications;
    const KIND: &'static str = "sms_tickets";
    const RETRY: RetryPolicy = RetryPolicy::OUTBOUND;
    const PRIORITY: i16 = SMS;

    fn priority(&self) -> i16 {
        if self.reissued { REISSUED } else { SMS }
    }

    fn unique_key(&self) -> Option<String> {
        // As for [`EmailTickets`].
        self.to.is_none().then(|| Self::key(self.booking_id))
    }
}

/// E-mails a buyer, if there is an e-mail address, that a booking has been cancelled, and what goes
/// back.
#[derive(Debug, Serialize, Deserialize)]
pub struct EmailCancellation {
    pub booking_id: BookingId,
    /// Somebody else than the buyer: the owner of tickets that were transferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<UserId>,
}

impl Job for EmailCancellation {
    const QUEUE: Queue = Queue::Notifications;
    const KIND: &'static str = "email_cancellation";
    const RETRY: RetryPolicy = RetryPolicy::OUTBOUND;
    const PRIORITY: i16 = EMAIL;

    fn unique_key(&self) -> Option<String> {
        Some(Self::key(of(self.booking_id, self.to)))
    }
}

/// The same by SMS, if there is a phone number.
#[derive(Debug, Serialize, Deserialize)]
pub struct SmsCancellation {
    pub booking_id: BookingId,
    /// Somebody else than the buyer: the owner of tickets that were transferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<UserId>,
}

impl Job for SmsCancellation {
    const QUEUE: Queue = Queue::Notifications;
    const KIND: &'static str = "sms_cancellation";
    const RETRY: RetryPolicy = RetryPolicy::OUTBOUND;
    const PRIORITY: i16 = SMS;

    fn unique_key(&self) -> Option<String> {
        Some(Self::key(of(self.booking_id, self.to)))
    }
}

/// E-mails a buyer, if there is an e-mail address, that a payment goes back, and why.
#[derive(Debug, Serialize, Deserialize)]
pub struct EmailRefund {
    pub refund_id: RefundId,
}

impl Job for EmailRefund {
    const QUEUE: Queue = Queue::Notifications;
    const KIND: &'static str = "email_refund";
    const RETRY: RetryPolicy = RetryPolicy::OUTBOUND;
    const PRIORITY: i16 = EMAIL;

    fn unique_key(&self) -> Option<String> {
        Some(Self::key(self.refund_id))
    }
}

/// The same by SMS, if there is a phone number.
#[derive(Debug, Serialize, Deserialize)]
pub struct SmsRefund {
    pub refund_id: RefundId,
}

impl Job for SmsRefund {
    const QUEUE: Queue = Queue::Notifications;
    const KIND: &'static str = "sms_refund";
    const RETRY: RetryPolicy = RetryPolicy::OUTBOUND;
    const PRIORITY: i16 = SMS;

    fn unique_key(&self) -> Option<String> {
        Some(Self::key(self.refund_id))
    }
}

/// E-mails a buyer, if there is an e-mail address, that a part of a payment was refunded manually.
#[derive(Debug, Serialize, Deserialize)]
pub struct EmailPartRefund {
    /// Razorpay's id, `rfnd_…`
    pub refund_id: String,
}

impl Job for EmailPartRefund {
    const QUEUE: Queue = Queue::Notifications;
    const KIND: &'static str = "email_part_refund";
    const RETRY: RetryPolicy = RetryPolicy::OUTBOUND;
    const PRIORITY: i16 = EMAIL;

    fn unique_key(&self) -> Option<String> {
        Some(Self::key(&self.refund_id))
    }
}

/// The same by SMS, if there is a phone number.
#[derive(Debug, Serialize, Deserialize)]
pub struct SmsPartRefund {
    /// Razorpay's id, `rfnd_…`
    pub refund_id: String,
}

impl Job for SmsPartRefund {
    const QUEUE: Queue = Queue::Notifications;
    const KIND: &'static str = "sms_part_refund";
    const RETRY: RetryPolicy = RetryPolicy::OUTBOUND;
    const PRIORITY: i16 = SMS;

    fn unique_key(&self) -> Option<String> {
        Some(Self::key(&self.refund_id))
    }
}

/// E-mails a buyer, if there is an e-mail address, that an event's date or place has changed, or that
/// it is near.
#[derive(Debug, Serialize, Deserialize)]
pub struct EmailNotice {
    pub booking_id: BookingId,
    pub notice_id: NoticeId,
    /// Somebody else than the buyer: the owner of tickets that were transferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<UserId>,
}

impl Job for EmailNotice {
    const QUEUE: Queue = Queue::Notifications;
    const KIND: &'static str = "email_notice";
    const RETRY: RetryPolicy = RetryPolicy::OUTBOUND;
    /// There may be a hundred thousand at once.
    const PRIORITY: i16 = REISSUED;

    fn unique_key(&self) -> Option<String> {
        Some(Self::key(format_args!("{}:{}", self.notice_id, of(self.booking_id, self.to))))
    }
}

/// Tells a buyer by SMS, if there is a phone number, that an event's date or place has changed.
#[derive(Debug, Serialize, Deserialize)]
pub struct SmsNotice {
    pub booking_id: BookingId,
    pub notice_id: NoticeId,
    /// Somebody else than the buyer: the owner of tickets that were transferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<UserId>,
}

impl Job for SmsNotice {
    const QUEUE: Queue = Queue::Notifications;
    const KIND: &'static str = "sms_notice";
    const RETRY: RetryPolicy = RetryPolicy::OUTBOUND;
    /// As for [`EmailNotice`].
    const PRIORITY: i16 = REISSUED;

    fn unique_key(&self) -> Option<String> {
        Some(Self::key(format_args!("{}:{}", self.notice_id, of(self.booking_id, self.to))))
    }
}

/// E-mails an address that a ticket is offered to whoever has it.
#[derive(Debug, Serialize, Deserialize)]
pub struct EmailOffer {
    pub transfer_id: TransferId,
}

impl Job for EmailOffer {
    const QUEUE: Queue = Queue::Notifications;
    const KIND: &'static str = "email_offer";
    const RETRY: RetryPolicy = RetryPolicy::OUTBOUND;
    const PRIORITY: i16 = EMAIL;

    fn unique_key(&self) -> Option<String> {
        Some(Self::key(self.transfer_id))
    }
}

/// E-mails whoever has given a ticket away that it is somebody else's now.
#[derive(Debug, Serialize, Deserialize)]
pub struct EmailTransferred {
    pub transfer_id: TransferId,
}

impl Job for EmailTransferred {
    const QUEUE: Queue = Queue::Notifications;
    const KIND: &'static str = "email_transferred";
    const RETRY: RetryPolicy = RetryPolicy::OUTBOUND;
    const PRIORITY: i16 = EMAIL;

    fn unique_key(&self) -> Option<String> {
        Some(Self::key(self.transfer_id))
    }
}

/// E-mails a link and a code that prove an address, to the address that the account is about to
/// prove.
#[derive(Debug, Serialize, Deserialize)]
pub struct VerifyEmail {
    pub user_id: UserId,
}

/// Without a unique key: a mail that is on its way is not the one that is asked for now. A limit
/// bounds how many there are.
impl Job for VerifyEmail {
    const QUEUE: Queue = Queue::Notifications;
    const KIND: &'static str = "verify_email";
    const RETRY: RetryPolicy = RetryPolicy::OUTBOUND;
    const PRIORITY: i16 = AWAITED;
}

/// E-mails a link that sets another password, if an account has proved the address.
#[derive(Debug, Serialize, Deserialize)]
pub struct RecoverPassword {
    /// The address and not an id: that there is an account is looked up where nobody can tell from
    /// how long it takes.
    pub email: String,
}

impl Job for RecoverPassword {
    const QUEUE: Queue = Queue::Notifications;
    const KIND: &'static str = "recover_password";
    const RETRY: RetryPolicy = RetryPolicy::OUTBOUND;
    const PRIORITY: i16 = AWAITED;

    fn unique_key(&self) -> Option<String> {
        Some(Self::key(&self.email))
    }
}

/// Tells a proved address that it is no longer that of its account.
#[derive(Debug, Serialize, Deserialize)]
pub struct EmailReplaced {
    pub user_id: UserId,
    /// The old address, which the account no longer has.
    pub to: String,
}

impl Job for EmailReplaced {
    const QUEUE: Queue = Queue::Notifications;
    const KIND: &'static str = "email_replaced";
    const RETRY: RetryPolicy = RetryPolicy::OUTBOUND;
    const PRIORITY: i16 = AWAITED;
}

/// Tells a proved phone the same, by SMS.
#[derive(Debug, Serialize, Deserialize)]
pub struct PhoneReplaced {
    pub user_id: UserId,
    /// The old number.
    pub to: String,
}

impl Job for PhoneReplaced {
    const QUEUE: Queue = Queue::Notifications;
    const KIND: &'static str = "phone_replaced";
    const RETRY: RetryPolicy = RetryPolicy::OUTBOUND;
    const PRIORITY: i16 = AWAITED;
}

/// Something happened to an account that its owner should know of, in case it was not them.
#[derive(Debug, Serialize, Deserialize)]
pub struct AccountNotice {
    pub user_id: UserId,
    pub change: Change,
    pub at: DateTime<Utc>,
}

text_enum! {
    /// What happened to an account.
    pub enum Change {
        /// Somebody who had the phone, or a mailed link, has set another password.
        PasswordReset = "password_reset",
        /// Somebody who was logged in and had the old one has set another password.
        PasswordChanged = "password_changed",
        /// Somebody has logged in with a client and from a network that the account does not know.
        NewDevice = "new_device",
    }
}

impl AccountNotice {
    /// It happens now.
    pub fn now(user_id: UserId, change: Change) -> Self {
        AccountNotice { user_id, change, at: Utc::now() }
    }
}

impl Job for AccountNotice {
    const QUEUE: Queue = Queue::Notifications;
    const KIND: &'static str = "account_notice";
    const RETRY: RetryPolicy = RetryPolicy::OUTBOUND;
    const PRIORITY: i16 = AWAITED;
}

/// Tells the owner of an account that it was erased, where it could be reached until then: at the
/// proved e-mail address, or by SMS.
#[derive(Debug, Serialize, Deserialize)]
pub struct AccountErased {
    /// The account has neither any more, and nothing here says which account it was. The job goes
    /// as all that are done do (docs/retention.md).
    pub email: Option<String>,
    pub phone: Option<String>,
}

impl Job for AccountErased {
    const QUEUE: Queue = Queue::Notifications;
    const KIND: &'static str = "account_erased";
    const RETRY: RetryPolicy = RetryPolicy::OUTBOUND;
    const PRIORITY: i16 = AWAITED;
}
