//! What an installation can do only with a provider's credentials, and the message for clients
//! where they are not set.

/// A feature that is off where a provider's credentials are not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// One-time passwords, by Twilio.
    Sms,
    /// Orders and looking up payments, by Razorpay.
    Payments,
    /// Passes for Apple Wallet.
    AppleWallet,
    /// Links to Google Wallet.
    GoogleWallet,
}

impl Feature {
    /// The message for clients where it is off.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Feature::Sms => "One-time passwords are not available here.",
            Feature::Payments => "Payments are not available here.",
            Feature::AppleWallet => "Passes for Apple Wallet are not available here.",
            Feature::GoogleWallet => "Google Wallet is not available here.",
        }
    }

    /// Its stable code.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Feature::Sms => "sms_unavailable",
            Feature::Payments => "payments_unavailable",
            Feature::AppleWallet => "apple_wallet_unavailable",
            Feature::GoogleWallet => "google_wallet_unavailable",
        }
    }
}
