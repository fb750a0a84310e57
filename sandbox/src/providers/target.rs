//! Kinds of calls to a provider, which fail and are counted separately.

use serde::{Deserialize, Serialize};

/// A kind of call that can fail and that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Target {
    /// Creating an order.
    #[serde(rename = "razorpay.orders")]
    RazorpayOrders,
    /// Reading orders, or an order's payments.
    #[serde(rename = "razorpay.order_fetch")]
    RazorpayOrderFetch,
    /// Capturing a payment.
    #[serde(rename = "razorpay.capture")]
    RazorpayCapture,
    /// Refunding a payment.
    #[serde(rename = "razorpay.refund")]
    RazorpayRefund,
    /// Reading a refund.
    #[serde(rename = "razorpay.refund_fetch")]
    RazorpayRefundFetch,
    /// Reading a payment.
    #[serde(rename = "razorpay.payment_fetch")]
    RazorpayPaymentFetch,
    /// Listing payments, refunds or disputes of some days, and everything about one dispute.
    #[serde(rename = "razorpay.list")]
    RazorpayList,
    /// Sending a one-time password.
    #[serde(rename = "twilio.verify")]
    TwilioVerify,
    #[serde(rename = "twilio.check")]
    TwilioCheck,
    /// Sending a text message.
    #[serde(rename = "twilio.sms")]
    TwilioSms,
    /// Looking up a range of breached passwords.
    #[serde(rename = "breaches.range")]
    BreachesRange,
    /// Asking whether somebody is a person.
    #[serde(rename = "captcha.verify")]
    CaptchaVerify,
    /// A message handed to the mail server.
    #[serde(rename = "smtp")]
    Smtp,
    /// The delivery of an event to the webhook URL.
    #[serde(rename = "webhook")]
    Webhook,
}

impl Target {
    pub(crate) fn is_razorpay(self) -> bool {
        !matches!(
            self,
            Self::TwilioVerify
                | Self::TwilioCheck
                | Self::TwilioSms
                | Self::BreachesRange
                | Self::CaptchaVerify
                | Self::Smtp
                | Self::Webhook
        )
    }
}
