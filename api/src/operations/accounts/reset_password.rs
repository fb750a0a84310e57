//! `POST /auth/reset-password`: a caller who has the account's phone may set a new password; then
//! every session ends.

use nexus_common::{
    Error, Result,
    accounts::{
        credentials::{PasswordReset as Reset, new_password_rules},
        otp_challenges::OtpPurpose,
        passwords,
        phone_proofs::{self, PhoneReset, Prover},
        sessions,
    },
    audit::{self, Action},
    jobs::{
        self,
        notifications::{AccountNotice, Change},
        wakeups,
    },
    storage::postgres,
    tickets::delivery,
    types::feature::Feature,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{check_new_password, forget_sessions, one_time_password};
use crate::{
    admission::away,
    app::App,
    auth::codes::{self, CodeCaller},
    http::{
        api_error::ApiError,
        client_ip::ClientIp,
        fields::{Challenge, Field, Otp, Phone, Text, Verbatim, optional_text, sent},
    },
    operations::{
        Endpoint, One,
        payments::{provider_failed, provider_refused},
    },
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResetPassword {
    phone: Phone,
    otp: Otp,
    #[serde(rename = "challenge_id")]
    challenge_id: Option<Challenge>,
    #[schema(value_type = String, min_length = 8, max_length = 128, example = "Corr3ct-horse")]
    new_password: Verbatim,
    /// An e-mail address alone proves nothing.
    #[schema(ignore)]
    email: Option<Text>,
}

/// The password has been changed, and every session has ended.
#[derive(Serialize, ToSchema)]
pub(crate) struct PasswordReset {
    message: &'static str,
    security_note: &'static str,
}

impl PasswordReset {
    pub(super) const DONE: Self = PasswordReset {
        message: "Password reset successful. Please login with your new password.",
        security_note: "All existing sessions have been terminated for security.",
    };
}

impl TryFrom<ResetPassword> for Reset {
    type Error = Error;

    fn try_from(request: ResetPassword) -> Result<Self> {
        let password = request.new_password.read().unwrap_or_default();
        new_password_rules(&password).map_err(Error::invalid)?;
        let otp = one_time_password(&request.otp, "OTP is required for password reset")?;
        let has_email =
            sent(&request.email).is_some_and(|email| email.get().is_some_and(|email| email != ""));
        let has_phone = request.phone.get().is_some_and(|phone| phone != "");
        if has_email && !has_phone {
            return Err(Error::invalid(
                "Email-based password reset requires phone OTP verification. Please provide phone number.",
            ));
        }
        let phone = request.phone.number("Email or phone number is required")?;
        Ok(Reset { phone, otp, password })
    }
}

impl Endpoint for ResetPassword {
    type Caller = ClientIp;
    type Response = One<PasswordReset>;

    fn spec() -> Operation {
        Operation::open("reset_password", "Reset the password with a one-time password")
            .description("Ends every session.")
            .failures([
                Error::OtpWrong,
                Error::OtpExpired,
                Error::OtpAttempts,
                Error::PhoneUnknown,
                Error::PasswordGuessable,
                provider_failed(),
                provider_refused(),
                Error::Off(Feature::Sms),
            ])
    }

    async fn run(self, app: App, address: ClientIp) -> Result<Self::Response, ApiError> {
        let challenge = optional_text("challenge_id", self.challenge_id.as_ref())?;
        let reset = Reset::try_from(self)?;
        // Before the code is used up.
        let known = vec![reset.phone.as_str().to_owned()];
        check_new_password(&app, &reset.password, known).await?;
        let caller = CodeCaller { address, session: None, challenge: challenge.as_deref() };
        codes::check(&app, caller, &reset.phone, OtpPurpose::ResetPassword, &reset.otp).await?;
        let hash = away(passwords::hash(reset.password)).await?;
        let mut tx = postgres::begin(&app.db).await?;
        let network = address.to_string();
        let prover = Prover { session: None, network: &network };
        let PhoneReset { user, is_proof } =
            phone_proofs::reset_password(&mut tx, &reset.phone, &prover, &hash).await?;
        let ended = sessions::end_sessions(&mut tx, user).await?;
        delivery::deliver_waiting(&mut tx, user).await?;
        jobs::enqueue(&mut tx, &AccountNotice::now(user, Change::PasswordReset)).await?;
        audit::record(&mut tx, Action::PasswordReset, Some(user), user, json!({ "by": "phone" }))
            .await?;
        if is_proof {
            app.budgets.phone_owner(&reset.phone).await?;
        }
        tx.commit().await?;
        wakeups::committed();
        forget_sessions(&app, user, &ended).await;
        Ok(One(PasswordReset::DONE))
    }
}
