//! Accounts and sessions (docs/contract.md#accounts).

pub(crate) mod change_email;
pub(crate) mod change_password;
pub(crate) mod change_phone;
pub(crate) mod check_username;
pub(crate) mod delete_account;
pub(crate) mod end_session;
pub(crate) mod export_account;
pub(crate) mod forgot_password;
pub(crate) mod list_sessions;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod logout_all;
pub(crate) mod me;
pub(crate) mod recover_password;
pub(crate) mod refresh_token;
pub(crate) mod register;
pub(crate) mod resend_verification;
pub(crate) mod reset_password;
pub(crate) mod send_otp;
pub(crate) mod verify_email;
pub(crate) mod verify_otp;

use std::time::Duration;

use chrono::{DateTime, Utc};
use nexus_common::{
    Error, Result,
    accounts::{
        credentials::{Otp as OneTimePassword, new_password_rules},
        login_networks, passwords,
        sessions::{self, EndedSessions, NewSession},
        tokens,
        users::User,
    },
    jobs::{
        self,
        notifications::{AccountNotice, Change},
        wakeups,
    },
    observability::metrics,
    storage::postgres,
    types::ids::{SessionId, UserId},
};
use secrecy::SecretString;
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

pub(crate) use self::{
    change_email::ChangeEmail, change_password::ChangePassword, change_phone::ChangePhone,
    check_username::CheckUsername, delete_account::DeleteAccount, end_session::EndSession,
    export_account::ExportAccount, forgot_password::ForgotPassword, list_sessions::ListSessions,
    login::Login, logout::Logout, logout_all::LogoutAll, me::GetMe,
    recover_password::RecoverPassword, refresh_token::RefreshToken, register::Register,
    resend_verification::ResendVerification, reset_password::ResetPassword, send_otp::SendOtp,
    verify_email::VerifyEmail, verify_otp::VerifyOtp,
};
use crate::{
    admission::away,
    app::App,
    auth::{
        caller::{Caller, Device},
        revocations,
    },
    http::{
        client_ip::ClientIp,
        fields::{Field, Otp, Verbatim, sent},
    },
    operations::payments::{provider_failed, provider_refused},
};

/// A user has logged in.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LoggedIn {
    user: User,
    access_token: String,
    refresh_token: String,
    message: &'static str,
}

/// Opens a session for a caller who proved after `since` to be `user`, and remembers their network.
async fn open_session(
    app: &App,
    device: &Device,
    user: User,
    since: DateTime<Utc>,
    message: &'static str,
) -> Result<LoggedIn> {
    let session = SessionId(Uuid::now_v7());
    let access_token = app.signer.access(user.id, Some(session))?;
    let refresh_token = app.signer.refresh(user.id, session)?;
    let network = device.address.to_string();
    let new = NewSession {
        id: session,
        user: user.id,
        refresh_token: &refresh_token,
        expires_at: Utc::now() + tokens::REFRESH_VALID,
        user_agent: device.user_agent.as_deref(),
        network: &network,
    };
    let mut tx = postgres::begin(&app.db).await?;
    let is_new = sessions::is_new_device(&mut tx, &new).await?;
    sessions::open(&mut tx, &new, app.settings.token_storage, since).await?;
    login_networks::remember(&mut tx, user.id, &network).await?;
    if is_new {
        jobs::enqueue(&mut tx, &AccountNotice::now(user.id, Change::NewDevice)).await?;
    }
    tx.commit().await?;
    wakeups::committed();
    app.tokens.keep_refresh_token(&refresh_token, user.id).await;
    Ok(LoggedIn { user, access_token, refresh_token, message })
}

/// Locks the caller's account for a change, unless their token was revoked meanwhile.
async fn lock_own_account(app: &App, conn: &mut PgConnection, caller: &Caller) -> Result<()> {
    sessions::require(conn, &caller.token, app.signer.verify_access(&caller.token)?).await
}

/// Makes this process forget a session before it responds; other processes are notified.
async fn forget_session(app: &App, user: UserId, session: SessionId, refresh_tokens: &[String]) {
    app.tokens.end_session(session, refresh_tokens).await;
    revocations::revoked(app, user).await;
}

/// Makes this process forget all sessions before it responds; other processes are notified.
async fn forget_sessions(app: &App, user: UserId, ended: &EndedSessions) {
    app.tokens.end_sessions(user, ended).await;
    // A session that the caller opens now is of a later millisecond than those that have ended.
    tokio::time::sleep(Duration::from_millis(1)).await;
    revocations::revoked(app, user).await;
}

/// Checks another password than that of the registration: it need only be long enough, as it has
/// always been, and unknown to those who guess. The caller knows these words of its owner; others
/// would tell a stranger whose account it is.
async fn check_new_password(app: &App, password: &str, about: Vec<String>) -> Result<()> {
    new_password_rules(password).map_err(Error::invalid)?;
    require_unknown(app, password, about).await
}

/// What others can know of a user, of which a password is easily made up.
fn words_about(user: &User) -> Vec<String> {
    let known = [&user.username, &user.name, &user.email, &user.phone];
    known.into_iter().flatten().cloned().collect()
}

/// Refuses a password that those try first who guess and know these words of its owner, and one that
/// has appeared in a breach, if breaches are looked up. Whoever sets a password does not wait long
/// for that, and is not refused because nobody answers.
async fn require_unknown(app: &App, password: &str, about: Vec<String>) -> Result<()> {
    let about = about.into_iter().chain(app.settings.http.site_names()).collect();
    if away(passwords::is_guessable(password.to_owned(), about)).await? {
        return Err(Error::PasswordGuessable);
    }
    let Some(breaches) = &app.breaches else { return Ok(()) };
    match away(breaches.has(&SecretString::from(password))).await {
        Ok(true) => {
            metrics::password_lookup("breached");
            Err(Error::PasswordBreached)
        }
        Ok(false) => {
            metrics::password_lookup("unknown");
            Ok(())
        }
        Err(error) => {
            metrics::password_lookup("failed");
            tracing::warn!(%error, "a new password was not looked up in breaches");
            Ok(())
        }
    }
}

/// The message for an empty code of the current phone.
const OTP_REQUIRED: &str = "OTP of the current phone number is required";

/// Checks that it is still the user who asks: see [`crate::auth::login::reauthenticate`].
async fn reauthenticate(
    app: &App,
    address: ClientIp,
    user: UserId,
    password: &Option<Verbatim>,
    otp: &Option<Otp>,
) -> Result<()> {
    let unreadable = || Error::invalid("password must be text");
    let password = sent(password).map(|password| password.read().ok_or_else(unreadable));
    let password = password.transpose()?;
    let otp = sent(otp).map(|otp| one_time_password(otp, OTP_REQUIRED)).transpose()?;
    crate::auth::login::reauthenticate(app, address, user, password, otp).await
}

/// How that fails.
fn reauthentication_failures() -> [Error; 7] {
    [
        Error::PasswordWrong,
        Error::ReauthenticationNeeded("Password"),
        Error::OtpWrong,
        Error::OtpExpired,
        Error::OtpAttempts,
        provider_failed(),
        provider_refused(),
    ]
}

/// A one-time password; absent and empty are `missing`.
fn one_time_password(otp: &Otp, missing: &str) -> Result<OneTimePassword> {
    if otp.get().is_none_or(|otp| otp == "") {
        return Err(Error::invalid(missing));
    }
    otp.read()
        .as_deref()
        .and_then(OneTimePassword::parse)
        .ok_or_else(|| Error::invalid("Invalid OTP format. OTP must be 4-6 digits."))
}
