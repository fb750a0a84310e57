//! `POST /auth/send-otp`: a job sends the code, so that a short outage of the provider delays the
//! message but does not lose it.

use nexus_common::{Error, types::feature::Feature};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::codes,
    http::{
        api_error::ApiError,
        client_ip::ClientIp,
        fields::{Field, Phone, Purpose, sent},
        solution::Solution,
    },
    operations::{Endpoint, One},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct SendOtp {
    phone: Phone,
    /// What the code is to be good for; without it, for everything. A challenge for one purpose is
    /// none for the other.
    purpose: Option<Purpose>,
}

/// A one-time password is on its way.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OtpSent {
    success: bool,
    message: &'static str,
    status: &'static str,
    expires_in: &'static str,
    /// To be sent back with the code.
    #[serde(rename = "challenge_id")]
    challenge_id: String,
}

impl Endpoint for SendOtp {
    type Caller = (ClientIp, Solution);
    type Response = One<OtpSent>;

    fn spec() -> Operation {
        Operation::open("send_otp", "Send a one-time password by SMS")
            .description("After a wrong guess, another code takes the place of the one before.")
            .failures([Error::Off(Feature::Sms)])
            .puzzles()
    }

    async fn run(
        self,
        app: App,
        (address, solution): (ClientIp, Solution),
    ) -> Result<Self::Response, ApiError> {
        let phone = self.phone.number("Phone number is required")?;
        let purpose = match sent(&self.purpose) {
            None => None,
            Some(purpose) => Some(
                purpose
                    .read()
                    .ok_or_else(|| Error::invalid("purpose must be login or reset_password"))?,
            ),
        };
        Ok(One(OtpSent {
            success: true,
            message: "OTP sent successfully",
            status: "pending",
            expires_in: "10 minutes",
            challenge_id: codes::send(&app, address, &phone, purpose, &solution).await?,
        }))
    }
}
