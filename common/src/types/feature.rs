//! What an installation can do only with a provider's credentials, and what clients are told where
//! they are not set.

/// Something that is off where a provider's credentials are not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Twilio's: one-time passwords.
    Sms,
    /// Razorpay's: orders, and asking about payments.
    Payments,
}

impl Feature {
    /// What clients are told where it is off.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Feature::Sms => "One-time passwords are not available here.",
            Feature::Payments => "Payments are not available here.",
        }
    }

    /// The stable code of the same.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Feature::Sms => "sms_unavailable",
            Feature::Payments => "payments_unavailable",
        }
    }
}
