//! Jobs of the notifications queue. They call providers without idempotency keys, so they run **at
//! least once**: if a worker dies between the provider's "accepted" and the commit, the message is
//! sent again. The window is only that moment, and the e-mail's Message-ID is derived from the
//! booking, so that mail systems can recognise the copy.

use serde::{Deserialize, Serialize};

use super::{Job, Queue, RetryPolicy};
use crate::types::ids::{BookingId, RefundId};

/// Mail and SMS have half of the slots each, so that neither holds up the other when its provider
/// hangs.
const SMS: i16 = 10;
const EMAIL: i16 = 11;
/// Reissued tickets, of which there may be hundreds of thousands at once: every other message goes
/// first.
const REISSUED: i16 = 12;

/// E-mails a booking's tickets, QR codes attached, to a buyer who has an e-mail address.
#[derive(Debug, Serialize, Deserialize)]
pub struct EmailTickets {
    pub booking_id: BookingId,
    /// Whether they were sent before, with other codes.
    #[serde(default)]
    pub reissued: bool,
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
        Some(Self::key(self.booking_id))
    }
}

/// Tells a buyer by SMS, if there is a phone number, that the tickets are ready.
#[derive(Debug, Serialize, Deserialize)]
pub struct SmsTickets {
    pub booking_id: BookingId,
    /// As in [`EmailTickets`]: whether they were sent before, with other codes.
    #[serde(default)]
    pub reissued: bool,
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
        Some(Self::key(self.booking_id))
    }
}

/// E-mails a buyer, if there is an e-mail address, that a booking has been cancelled, and what goes
/// back.
#[derive(Debug, Serialize, Deserialize)]
pub struct EmailCancellation {
    pub booking_id: BookingId,
}

impl Job for EmailCancellation {
    const QUEUE: Queue = Queue::Notifications;
    const KIND: &'static str = "email_cancellation";
    const RETRY: RetryPolicy = RetryPolicy::OUTBOUND;
    const PRIORITY: i16 = EMAIL;

    fn unique_key(&self) -> Option<String> {
        Some(Self::key(self.booking_id))
    }
}

/// The same by SMS, if there is a phone number.
#[derive(Debug, Serialize, Deserialize)]
pub struct SmsCancellation {
    pub booking_id: BookingId,
}

impl Job for SmsCancellation {
    const QUEUE: Queue = Queue::Notifications;
    const KIND: &'static str = "sms_cancellation";
    const RETRY: RetryPolicy = RetryPolicy::OUTBOUND;
    const PRIORITY: i16 = SMS;

    fn unique_key(&self) -> Option<String> {
        Some(Self::key(self.booking_id))
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
