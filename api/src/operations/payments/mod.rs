//! Orders at Razorpay, and their state (docs/contract.md#payments).

pub(crate) mod create_order;
pub(crate) mod verify_payment;
pub(crate) mod webhook;

use nexus_common::Error;

pub(crate) use self::{create_order::CreateOrder, verify_payment::VerifyPayment};

/// A provider could not be reached.
pub(super) fn provider_failed() -> Error {
    Error::Provider {
        message: "The provider could not be reached. Please try again shortly.".into(),
        source: None,
    }
}

/// A provider refuses to do that.
pub(super) fn provider_refused() -> Error {
    Error::ProviderRefused { source: "refused".into() }
}
