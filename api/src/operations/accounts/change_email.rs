//! `POST /auth/change-email`: mails a code and a link to another address, which replaces the
//! account's own when one of them comes back (see [`verify_email`](super::verify_email)).

use nexus_common::{
    Error,
    accounts::{
        credentials::Login,
        email_proofs,
        users::{self, Profile},
    },
    jobs::wakeups,
    storage::postgres,
    types::contacts::Email as EmailAddress,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{lock_own_account, reauthenticate, reauthentication_failures};
use crate::{
    app::App,
    auth::caller::Caller,
    budgets::Claimant,
    http::{
        api_error::ApiError,
        client_ip::ClientIp,
        fields::{Email, Field, Otp, Verbatim},
        solution::Solution,
    },
    operations::{Endpoint, One},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChangeEmail {
    email: Email,
    /// The account's, if it has one.
    #[schema(value_type = Option<String>, max_length = 4096, example = "Corr3ct-horse")]
    password: Option<Verbatim>,
    /// A code that was sent to the account's phone, if that is proved and there is no password.
    current_otp: Option<Otp>,
}

/// A mail is on its way.
#[derive(Serialize, ToSchema)]
pub(crate) struct VerificationSent {
    pub(super) message: &'static str,
    /// To whom.
    pub(super) pending_email: String,
}

impl Endpoint for ChangeEmail {
    type Caller = (ClientIp, Caller, Solution);
    type Response = One<VerificationSent>;

    fn spec() -> Operation {
        Operation::private("change_email", "Change the e-mail address")
            .description(
                "Mails a code to the new address; `verify-email` with it makes the change.",
            )
            .failures([Error::EmailVerified])
            .failures(reauthentication_failures())
            .puzzles()
    }

    async fn run(
        self,
        app: App,
        (address, caller, solution): (ClientIp, Caller, Solution),
    ) -> Result<Self::Response, ApiError> {
        let user = caller.user;
        let email = self.email.read().and_then(|text| EmailAddress::parse(text.trim()));
        let email = email.ok_or_else(|| Error::invalid("Invalid email format"))?;
        let Some(profile) = users::profile(&mut *app.db.acquire().await?, user).await? else {
            return Err(Error::TokenInvalid.into());
        };
        if is_verified(&profile, &email) {
            return Err(Error::EmailVerified.into());
        }
        reauthenticate(&app, address, user, &self.password, &self.current_otp).await?;
        let sent = send(&app, address, &caller, &email, &solution).await?;
        Ok(One(sent))
    }
}

fn is_verified(profile: &Profile, email: &EmailAddress) -> bool {
    let own = profile.user.email.as_deref().and_then(EmailAddress::parse);
    profile.email_verified && own.as_ref() == Some(email)
}

/// Has a code and a link mailed to `email`, within its limits.
pub(super) async fn send(
    app: &App,
    address: ClientIp,
    caller: &Caller,
    email: &EmailAddress,
    solution: &Solution,
) -> nexus_common::Result<VerificationSent> {
    let recipient = Login::by_email(email.as_str()).ok_or(Error::BadCredentials)?;
    let claimant = Claimant::find(&app.db, address, &recipient).await?;
    app.budgets.email_send(claimant, email, solution).await?;
    let mut tx = postgres::begin(&app.db).await?;
    lock_own_account(app, &mut tx, caller).await?;
    email_proofs::begin(&mut tx, caller.user, email.as_str()).await?;
    tx.commit().await?;
    wakeups::committed();
    Ok(VerificationSent {
        message: "Verification mail sent",
        pending_email: email.as_str().to_owned(),
    })
}
