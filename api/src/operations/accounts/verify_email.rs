//! `POST /auth/verify-email`: the e-mail address to which a code or a link was mailed becomes the
//! account's own; the tickets that have waited for that are sent.

use nexus_common::{
    Error, Result,
    accounts::{
        email_proofs::{self, Addressee, Purpose},
        users,
    },
    audit::{self, Action},
    jobs::{self, notifications::EmailReplaced, wakeups},
    storage::postgres,
    tickets::delivery,
    types::contacts::Email,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    app::App,
    auth::{caller::MaybeCaller, login},
    http::{
        api_error::ApiError,
        fields::{Field, Text, Verbatim, sent},
    },
    operations::{Endpoint, One},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
pub(crate) struct VerifyEmail {
    /// From the mail, for who is logged in.
    #[schema(value_type = Option<String>, max_length = 8, pattern = "^[0-9]{8}$", example = "12345678")]
    code: Option<Text>,
    /// From the mail's link, with the password.
    #[schema(value_type = Option<String>, max_length = 4096, min_length = 1, example = "nS2QJ2mJ0g1yqVv7n9yS7A")]
    token: Option<Text>,
    /// The account's.
    #[schema(value_type = Option<String>, max_length = 4096, example = "Corr3ct-horse")]
    password: Option<Verbatim>,
}

/// The address is the account's own.
#[derive(Serialize, ToSchema)]
pub(crate) struct EmailVerified {
    message: &'static str,
    email: String,
}

impl Endpoint for VerifyEmail {
    type Caller = MaybeCaller;
    type Response = One<EmailVerified>;

    fn spec() -> Operation {
        Operation::open_to_users("verify_email", "Verify an e-mail address")
            .description(
                "With the code of the mail by who is logged in, or with the token of its link and the password.",
            )
            .needs_one_of(&["code", "token"])
            .failures([
                Error::TokenMissing,
                Error::OtpWrong,
                Error::OtpExpired,
                Error::OtpAttempts,
                Error::LinkExpired,
                Error::PasswordWrong,
                Error::UserExists,
            ])
    }

    async fn run(self, app: App, caller: MaybeCaller) -> Result<Self::Response, ApiError> {
        let code = sent(&self.code).map(code).transpose()?;
        let token = sent(&self.token).and_then(Field::read).filter(|token| !token.is_empty());
        let email = match (code, token) {
            (Some(code), _) => {
                let user = caller.0.ok_or(Error::TokenMissing)?;
                let mut conn = app.db.acquire().await?;
                let proof = email_proofs::check_code(&mut conn, user, &code).await?;
                drop(conn);
                prove(&app, proof).await?
            }
            (None, Some(token)) => {
                let unreadable = || Error::invalid("password must be text");
                let password = sent(&self.password)
                    .map_or(Ok(String::new()), |password| password.read().ok_or_else(unreadable))?;
                by_link(&app, &token, password).await?
            }
            (None, None) => return Err(Error::invalid("Code or token is required").into()),
        };
        Ok(One(EmailVerified { message: "E-mail address verified", email }))
    }
}

fn code(field: &Text) -> Result<String> {
    let is_code = |code: &String| code.len() == 8 && code.bytes().all(|byte| byte.is_ascii_digit());
    let code = field.read().filter(is_code);
    code.ok_or_else(|| Error::invalid("Code must have 8 digits"))
}

/// For who has the mail and knows the password. Returns the address.
pub(crate) async fn by_link(app: &App, token: &str, password: String) -> Result<String> {
    let mut conn = app.db.acquire().await?;
    let proof = email_proofs::addressee(&mut conn, Purpose::Verify, token).await?;
    let (hash, _) = users::proofs(&mut conn, proof.user).await?;
    drop(conn);
    // Only who is logged in to an account without a password can prove its address.
    let hash = hash.ok_or(Error::LinkExpired)?;
    login::check_password(app, proof.user, password, hash).await?;
    prove(app, proof).await
}

async fn prove(app: &App, proof: Addressee) -> Result<String> {
    let email = Email::parse(&proof.email).ok_or(Error::LinkExpired)?;
    let mut tx = postgres::begin(&app.db).await?;
    let before = email_proofs::set(&mut tx, proof.user, &email).await?;
    email_proofs::spend(&mut tx, Purpose::Verify, &proof).await?;
    let (user, details) = (proof.user, json!({ "replaced": before.is_some() }));
    audit::record(&mut tx, Action::EmailProved, Some(user), user, details).await?;
    if let Some(to) = before {
        jobs::enqueue(&mut tx, &EmailReplaced { user_id: user, to }).await?;
    }
    delivery::deliver_waiting(&mut tx, user).await?;
    tx.commit().await?;
    wakeups::committed();
    Ok(proof.email)
}
