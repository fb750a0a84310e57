//! Credentials, ports and timings of the stand-ins.

use std::time::Duration;

use crate::random;

/// What the stand-ins accept and how fast they act. [`ProvidersConfig::default`] invents
/// credentials.
#[derive(Debug, Clone)]
pub struct ProvidersConfig {
    /// `rzp_test_…`, the user of Razorpay's basic authentication.
    pub razorpay_key_id: String,
    /// Its password, and the key of the checkout's proof of payment.
    pub razorpay_key_secret: String,
    /// The key of webhook signatures.
    pub razorpay_webhook_secret: String,
    /// Where webhooks go; can be set later.
    pub webhook_url: Option<String>,
    /// `AC…`, the user of Twilio's basic authentication.
    pub twilio_account_sid: String,
    pub twilio_auth_token: String,
    /// `VA…`, the Verify service.
    pub twilio_verify_sid: String,
    /// HTTP port; 0 is any free one.
    pub port: u16,
    /// SMTP port; 0 is any free one.
    pub smtp_port: u16,
    /// How long a one-time password is valid: 10 minutes at Twilio.
    pub otp_validity: Duration,
    /// How long a minute of Razorpay's capture options takes.
    pub razorpay_minute: Duration,
    /// How long a refund stays pending.
    pub refund_delay: Duration,
    /// Pause before the second delivery of a webhook; it doubles with each further one.
    pub webhook_retry: Duration,
}

impl Default for ProvidersConfig {
    fn default() -> Self {
        Self {
            razorpay_key_id: format!("rzp_test_{}", random::alphanumeric(14)),
            razorpay_key_secret: random::alphanumeric(24),
            razorpay_webhook_secret: random::alphanumeric(32),
            webhook_url: None,
            twilio_account_sid: format!("AC{}", random::hex(32)),
            twilio_auth_token: random::hex(32),
            twilio_verify_sid: format!("VA{}", random::hex(32)),
            port: 0,
            smtp_port: 0,
            otp_validity: Duration::from_secs(600),
            razorpay_minute: Duration::from_secs(60),
            refund_delay: Duration::from_millis(300),
            webhook_retry: Duration::from_secs(1),
        }
    }
}
