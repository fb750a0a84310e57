//! `POST /auth/change-phone`: a phone number becomes the account's own, its first or another; a code
//! from `send-otp` proves it.

use nexus_common::{
    Error,
    accounts::{
        otp_challenges::OtpPurpose,
        phone_proofs::{self, PhoneSet},
        users::{self, Profile},
    },
    audit::{self, Action},
    jobs::{self, notifications::PhoneReplaced, wakeups},
    storage::postgres,
    tickets::delivery,
    types::{contacts::Phone as PhoneNumber, feature::Feature},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{lock_own_account, one_time_password, reauthenticate, reauthentication_failures};
use crate::{
    app::App,
    auth::{
        caller::Caller,
        codes::{self, CodeCaller},
    },
    http::{
        api_error::ApiError,
        client_ip::ClientIp,
        fields::{Challenge, Otp, Phone, Verbatim, optional_text},
    },
    operations::{Endpoint, One},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChangePhone {
    phone: Phone,
    otp: Otp,
    #[serde(rename = "challenge_id")]
    challenge_id: Option<Challenge>,
    /// The account's, if it has one. Not needed for the number that the account has claimed.
    #[schema(value_type = Option<String>, max_length = 4096, example = "Corr3ct-horse")]
    password: Option<Verbatim>,
    /// A code that was sent to the account's own phone, if that is proved and there is no password.
    current_otp: Option<Otp>,
}

/// The number is the account's own.
#[derive(Serialize, ToSchema)]
pub(crate) struct PhoneVerified {
    message: &'static str,
    phone: String,
}

impl Endpoint for ChangePhone {
    type Caller = (ClientIp, Caller);
    type Response = One<PhoneVerified>;

    fn spec() -> Operation {
        Operation::private("change_phone", "Verify or change the phone number")
            .failures([Error::UserExists, Error::Off(Feature::Sms)])
            .failures(reauthentication_failures())
    }

    async fn run(
        self,
        app: App,
        (address, caller): (ClientIp, Caller),
    ) -> Result<Self::Response, ApiError> {
        const MISSING: &str = "Phone number and OTP are required";
        let user = caller.user;
        let phone = self.phone.number(MISSING)?;
        let otp = one_time_password(&self.otp, MISSING)?;
        let Some(profile) = users::profile(&mut *app.db.acquire().await?, user).await? else {
            return Err(Error::TokenInvalid.into());
        };
        if !is_own(&profile, &phone) {
            reauthenticate(&app, address, user, &self.password, &self.current_otp).await?;
        }
        let challenge = optional_text("challenge_id", self.challenge_id.as_ref())?;
        let code_caller =
            CodeCaller { address, session: Some(user), challenge: challenge.as_deref() };
        codes::check(&app, code_caller, &phone, OtpPurpose::Login, &otp).await?;
        let mut tx = postgres::begin(&app.db).await?;
        let PhoneSet { is_proof, replaced } = phone_proofs::set(&mut tx, user, &phone).await?;
        // After all accounts that it concerns were locked, in one order.
        lock_own_account(&app, &mut tx, &caller).await?;
        let details = json!({ "replaced": replaced.is_some() });
        audit::record(&mut tx, Action::PhoneProved, Some(user), user, details).await?;
        if let Some(to) = replaced {
            jobs::enqueue(&mut tx, &PhoneReplaced { user_id: user, to }).await?;
        }
        delivery::deliver_waiting(&mut tx, user).await?;
        if is_proof {
            app.budgets.phone_owner(&phone).await?;
        }
        tx.commit().await?;
        wakeups::committed();
        Ok(One(PhoneVerified {
            message: "Phone number verified",
            phone: phone.as_str().to_owned(),
        }))
    }
}

/// Whether it is the number with which the account was made.
fn is_own(profile: &Profile, phone: &PhoneNumber) -> bool {
    profile.user.phone.as_deref() == Some(phone.as_str())
}
