//! `POST /auth/change-password`: a user sets another password, or the first one. Every session ends,
//! and the response opens a new one.

use nexus_common::{
    Error,
    accounts::{passwords, sessions, users},
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

use super::{
    LoggedIn, check_new_password, forget_sessions, lock_own_account, open_session, reauthenticate,
    reauthentication_failures, words_about,
};
use crate::{
    admission::away,
    app::App,
    auth::caller::{Caller, Device},
    http::{
        api_error::ApiError,
        fields::{Field, Otp, Verbatim},
    },
    operations::{Endpoint, One},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChangePassword {
    /// If the account has a password.
    #[schema(value_type = Option<String>, max_length = 4096, example = "Th3-old-horse")]
    current_password: Option<Verbatim>,
    /// A code that was sent to the account's phone, if that is proved and there is no password.
    current_otp: Option<Otp>,
    #[schema(value_type = String, min_length = 8, max_length = 128, example = "Corr3ct-horse")]
    new_password: Verbatim,
}

impl Endpoint for ChangePassword {
    type Caller = (Device, Caller);
    type Response = One<LoggedIn>;

    fn spec() -> Operation {
        Operation::private("change_password", "Change the password")
            .description("Ends every session, and opens a new one.")
            .failures([Error::PasswordGuessable, Error::BadCredentials])
            .failures(reauthentication_failures())
    }

    async fn run(
        self,
        app: App,
        (device, caller): (Device, Caller),
    ) -> Result<Self::Response, ApiError> {
        let user = caller.user;
        let new = self.new_password.read().unwrap_or_default();
        let known = users::get(&mut *app.db.acquire().await?, user).await?;
        let known = known.as_ref().map(words_about).unwrap_or_default();
        check_new_password(&app, &new, known).await?;
        reauthenticate(&app, device.address, user, &self.current_password, &self.current_otp)
            .await?;
        let hash = away(passwords::hash(new)).await?;
        let mut tx = postgres::begin(&app.db).await?;
        lock_own_account(&app, &mut tx, &caller).await?;
        users::set_password(&mut tx, user, &hash).await?;
        let ended = sessions::end_sessions(&mut tx, user).await?;
        jobs::enqueue(&mut tx, &AccountNotice::now(user, Change::PasswordChanged)).await?;
        audit::record(&mut tx, Action::PasswordChanged, Some(user), user, json!({})).await?;
        let profile = users::get(&mut tx, user).await?.ok_or(Error::TokenInvalid)?;
        tx.commit().await?;
        wakeups::committed();
        forget_sessions(&app, user, &ended).await;
        let message = "Password changed";
        Ok(One(open_session(&app, &device, profile, ended.from, message).await?))
    }
}
