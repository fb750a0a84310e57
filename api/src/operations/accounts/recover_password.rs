//! `POST /auth/recover-password`: who has a link that `forgot-password` has mailed to the account's
//! proved address may set a new password; then every session ends.

use nexus_common::{
    Error, Result,
    accounts::{
        credentials::new_password_rules,
        email_proofs::{self, Purpose},
        passwords, sessions, users,
    },
    audit::{self, Action},
    jobs::{
        self,
        notifications::{AccountNotice, Change},
        wakeups,
    },
    storage::postgres,
};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{check_new_password, forget_sessions, reset_password::PasswordReset, words_about};
use crate::{
    admission::away,
    app::App,
    auth::caller::Anybody,
    http::{
        api_error::ApiError,
        fields::{Field, Text, Verbatim},
    },
    operations::{Endpoint, One},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RecoverPassword {
    /// From the mail's link.
    #[schema(value_type = String, max_length = 4096, min_length = 1, example = "nS2QJ2mJ0g1yqVv7n9yS7A")]
    token: Text,
    #[schema(value_type = String, min_length = 8, max_length = 128, example = "Corr3ct-horse")]
    new_password: Verbatim,
}

impl Endpoint for RecoverPassword {
    type Caller = Anybody;
    type Response = One<PasswordReset>;

    fn spec() -> Operation {
        Operation::open("recover_password", "Reset the password with a mailed link")
            .description("Ends every session.")
            .failures([Error::LinkExpired, Error::PasswordGuessable])
    }

    async fn run(self, app: App, _: Anybody) -> Result<Self::Response, ApiError> {
        let password = self.new_password.read().unwrap_or_default();
        let token = self.token.read().filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| Error::invalid("Token is required"))?;
        by_link(&app, &token, password).await?;
        Ok(One(PasswordReset::DONE))
    }
}

/// Sets the password of the account to whose address the link was mailed.
pub(crate) async fn by_link(app: &App, token: &str, password: String) -> Result<()> {
    new_password_rules(&password).map_err(Error::invalid)?;
    let proof = {
        let mut conn = app.db.acquire().await?;
        email_proofs::addressee(&mut conn, Purpose::Recover, token).await?
    };
    let user = proof.user;
    let known = users::get(&mut *app.db.acquire().await?, user).await?;
    let known = known.as_ref().map(words_about).unwrap_or_default();
    check_new_password(app, &password, known).await?;
    let hash = away(passwords::hash(password)).await?;
    let mut tx = postgres::begin(&app.db).await?;
    users::recover_password(&mut tx, user, &proof.email, &hash).await?;
    let ended = sessions::end_sessions(&mut tx, user).await?;
    email_proofs::spend(&mut tx, Purpose::Recover, &proof).await?;
    jobs::enqueue(&mut tx, &AccountNotice::now(user, Change::PasswordReset)).await?;
    let details = json!({ "by": "email" });
    audit::record(&mut tx, Action::PasswordReset, Some(user), user, details).await?;
    tx.commit().await?;
    wakeups::committed();
    forget_sessions(app, user, &ended).await;
    Ok(())
}
