//! `POST /auth/verify-otp`

use chrono::Utc;
use nexus_common::{
    Error, Result,
    accounts::{
        credentials::{Login, Otp as OneTimePassword},
        users,
    },
    storage::postgres,
    types::{contacts::Phone as PhoneNumber, feature::Feature},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{LoggedIn, one_time_password, open_session};
use crate::{
    app::App,
    auth::login,
    http::{
        api_error::ApiError,
        client_ip::ClientIp,
        fields::{Field, Otp, Phone},
    },
    operations::{
        Endpoint, One,
        payments::{provider_failed, provider_refused},
    },
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct VerifyOtp {
    phone: Phone,
    otp: Otp,
}

impl VerifyOtp {
    /// The phone number, and the code that proves it.
    pub(crate) fn proof(self) -> Result<(PhoneNumber, OneTimePassword)> {
        const MISSING: &str = "Phone number and OTP are required";
        if self.otp.get().is_none() {
            return Err(Error::invalid(MISSING));
        }
        Ok((self.phone.number(MISSING)?, one_time_password(&self.otp, MISSING)?))
    }
}

/// A user has logged in with a one-time password.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OtpVerified {
    #[serde(flatten)]
    login: LoggedIn,
    is_new_user: bool,
}

impl Endpoint for VerifyOtp {
    type Caller = ClientIp;
    type Response = One<OtpVerified>;

    fn spec() -> Operation {
        Operation::open("verify_otp", "Log in with a one-time password")
            .description("A phone number without an account gets one.")
            .failures([
                Error::OtpWrong,
                Error::OtpExpired,
                Error::OtpAttempts,
                provider_failed(),
                provider_refused(),
                Error::Off(Feature::Sms),
            ])
    }

    async fn run(self, app: App, address: ClientIp) -> Result<Self::Response, ApiError> {
        let (phone, otp) = self.proof()?;
        let since = Utc::now();
        let claimant = login::claimant(&app, address, &Login::from(&phone)).await?;
        let taken = app.budgets.otp_check(claimant, &phone).await?;
        login::check_code(&app, taken, &phone, &otp).await?;
        let mut tx = postgres::begin(&app.db).await?;
        let (user, is_new) = users::find_or_create_by_phone(&mut tx, &phone).await?;
        tx.commit().await?;
        let message = if is_new {
            "OTP verified, user created and login successful"
        } else {
            "OTP verified and login successful"
        };
        let login = open_session(&app, address, user, since, message).await?;
        Ok(One(OtpVerified { login, is_new_user: is_new }))
    }
}
