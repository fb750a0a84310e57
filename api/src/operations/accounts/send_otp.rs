//! `POST /auth/send-otp`: a job sends the code, so that a short outage of the provider delays the
//! message but does not lose it.

use nexus_common::{
    Error,
    accounts::credentials::Login,
    jobs::{self, otp, wakeups},
    types::feature::Feature,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::login,
    http::{api_error::ApiError, client_ip::ClientIp, fields::Phone},
    operations::{Endpoint, One},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct SendOtp {
    phone: Phone,
}

/// A one-time password is on its way.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OtpSent {
    success: bool,
    message: &'static str,
    status: &'static str,
    expires_in: &'static str,
}

impl Endpoint for SendOtp {
    type Caller = ClientIp;
    type Response = One<OtpSent>;

    fn spec() -> Operation {
        Operation::open("send_otp", "Send a one-time password by SMS")
            .failures([Error::Off(Feature::Sms)])
    }

    async fn run(self, app: App, address: ClientIp) -> Result<Self::Response, ApiError> {
        let phone = self.phone.number("Phone number is required")?;
        // Without credentials, no worker would send it.
        app.twilio()?;
        let claimant = login::claimant(&app, address, &Login::from(&phone)).await?;
        app.budgets.otp_send(claimant, &phone).await?;
        let mut conn = app.db.acquire().await?;
        jobs::enqueue(&mut conn, &otp::SendOtp { phone: phone.as_str().to_owned() }).await?;
        wakeups::committed();
        Ok(One(OtpSent {
            success: true,
            message: "OTP sent successfully",
            status: "pending",
            expires_in: "10 minutes",
        }))
    }
}
