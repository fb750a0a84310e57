//! `POST /auth/verify-email/resend`: another mail with a code and a link.

use nexus_common::{Error, accounts::email_proofs, types::contacts::Email};
use serde::Deserialize;
use utoipa::ToSchema;

use super::change_email::{VerificationSent, send};
use crate::{
    app::App,
    auth::caller::Caller,
    http::{api_error::ApiError, client_ip::ClientIp, solution::Solution},
    operations::{Endpoint, One},
    spec::operation::Operation,
};

#[derive(Default, Deserialize, ToSchema)]
pub(crate) struct ResendVerification {}

impl Endpoint for ResendVerification {
    type Caller = (ClientIp, Caller, Solution);
    type Response = One<VerificationSent>;

    fn spec() -> Operation {
        Operation::private("resend_verification", "Send another verification mail")
            .description("Codes and links of earlier mails are worth nothing any more.")
            .failures([Error::EmailVerified])
            .puzzles()
    }

    async fn run(
        self,
        app: App,
        (address, caller, solution): (ClientIp, Caller, Solution),
    ) -> Result<Self::Response, ApiError> {
        let email = email_proofs::unproved(&mut *app.db.acquire().await?, caller.user).await?;
        // An address from before today's rules may be none that mail can be sent to.
        let email = email.as_deref().and_then(Email::parse).ok_or(Error::EmailVerified)?;
        Ok(One(send(&app, address, &caller, &email, &solution).await?))
    }
}
