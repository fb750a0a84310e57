//! `POST /auth/verify-otp`

use chrono::Utc;
use nexus_common::{
    Error, Result,
    accounts::{
        credentials::Otp as OneTimePassword,
        otp_challenges::OtpPurpose,
        phone_proofs::{self, Prover},
        users,
    },
    audit::{self, Action},
    jobs::wakeups,
    storage::postgres,
    tickets::delivery,
    types::{contacts::Phone as PhoneNumber, feature::Feature},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{LoggedIn, forget_sessions, one_time_password, open_session};
use crate::{
    app::App,
    auth::{
        caller::{Device, MaybeCaller},
        codes::{self, CodeCaller},
    },
    http::{
        api_error::ApiError,
        fields::{Challenge, Field, Otp, Phone, optional_text},
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
    challenge_id: Option<Challenge>,
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
    type Caller = (Device, MaybeCaller);
    type Response = One<OtpVerified>;

    fn spec() -> Operation {
        Operation::open_to_users("verify_otp", "Log in with a one-time password")
            .description(
                "A phone number without an account gets one. If an account has only claimed the number, this is the first proof that it is the account's: unless the caller is logged in to it, its sessions, its password and an unverified e-mail address end.",
            )
            .failures([
                Error::AccountSuspended,
                Error::OtpWrong,
                Error::OtpExpired,
                Error::OtpAttempts,
                provider_failed(),
                provider_refused(),
                Error::Off(Feature::Sms),
            ])
    }

    async fn run(
        self,
        app: App,
        (device, caller): (Device, MaybeCaller),
    ) -> Result<Self::Response, ApiError> {
        let challenge = optional_text("challenge_id", self.challenge_id.as_ref())?;
        let (phone, otp) = self.proof()?;
        let mut since = Utc::now();
        let code_caller = CodeCaller {
            address: device.address,
            session: caller.0,
            challenge: challenge.as_deref(),
        };
        codes::check(&app, code_caller, &phone, OtpPurpose::Login, &otp).await?;
        let mut tx = postgres::begin(&app.db).await?;
        let network = device.address.to_string();
        let prover = Prover { session: caller.0, network: &network };
        let login = phone_proofs::log_in(&mut tx, &phone, &prover).await?;
        if login.is_proof {
            let (user, details) = (login.user, json!({ "took_over": login.ended.is_some() }));
            audit::record(&mut tx, Action::PhoneProved, Some(user), user, details).await?;
            delivery::deliver_waiting(&mut tx, login.user).await?;
        }
        let user = users::get(&mut tx, login.user).await?;
        let user = user.ok_or_else(|| Error::internal("a user vanished while logging in"))?;
        if login.is_proof || login.is_new {
            app.budgets.phone_owner(&phone).await?;
        }
        tx.commit().await?;
        wakeups::committed();
        if let Some(ended) = &login.ended {
            forget_sessions(&app, login.user, ended).await;
            since = ended.from;
        }
        let is_new = login.is_new;
        let message = if is_new {
            "OTP verified, user created and login successful"
        } else {
            "OTP verified and login successful"
        };
        let login = open_session(&app, &device, user, since, message).await?;
        Ok(One(OtpVerified { login, is_new_user: is_new }))
    }
}
