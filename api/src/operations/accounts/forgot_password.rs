//! `POST /auth/forgot-password`: mails a link with which the owner of a proved e-mail address sets
//! another password. Whether there is such an account, the worker finds out, so that neither the
//! response nor its time tells.

use nexus_common::{
    Error,
    accounts::credentials::Login,
    jobs::{self, notifications::RecoverPassword, wakeups},
    types::contacts::Email as EmailAddress,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    budgets::Claimant,
    http::{
        api_error::ApiError,
        client_ip::ClientIp,
        fields::{Email, Field},
        solution::Solution,
    },
    operations::{Endpoint, One},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct ForgotPassword {
    email: Email,
}

/// If there is such an account, a mail is on its way.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecoverySent {
    message: &'static str,
}

impl Endpoint for ForgotPassword {
    type Caller = (ClientIp, Solution);
    type Response = One<RecoverySent>;

    fn spec() -> Operation {
        Operation::open("forgot_password", "Send a link to reset the password by e-mail")
            .description("Only to an address that its account has verified.")
            .puzzles()
    }

    async fn run(
        self,
        app: App,
        (address, solution): (ClientIp, Solution),
    ) -> Result<Self::Response, ApiError> {
        let email = self.email.read().and_then(|text| EmailAddress::parse(text.trim()));
        let email = email.ok_or_else(|| Error::invalid("Invalid email format"))?;
        let login = Login::by_email(email.as_str()).ok_or(Error::BadCredentials)?;
        let claimant = Claimant::find(&app.db, address, &login).await?;
        app.budgets.email_send(claimant, &email, &solution).await?;
        let job = RecoverPassword { email: email.as_str().to_owned() };
        jobs::enqueue(&mut *app.db.acquire().await?, &job).await?;
        wakeups::committed();
        Ok(One(RecoverySent {
            message: "If an account has verified this address, a mail with a link is on its way.",
        }))
    }
}
