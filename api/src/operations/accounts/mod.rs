//! Accounts and sessions (docs/contract.md#accounts).

pub(crate) mod check_username;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod logout_all;
pub(crate) mod me;
pub(crate) mod refresh_token;
pub(crate) mod register;
pub(crate) mod reset_password;
pub(crate) mod send_otp;
pub(crate) mod verify_otp;

use chrono::{DateTime, Utc};
use nexus_common::{
    Error, Result,
    accounts::{
        credentials::Otp as OneTimePassword,
        login_networks,
        sessions::{self, EndedSessions},
        tokens,
        users::User,
    },
    types::ids::UserId,
};
use serde::Serialize;
use utoipa::ToSchema;

pub(crate) use self::{
    check_username::CheckUsername, login::Login, logout::Logout, logout_all::LogoutAll, me::GetMe,
    refresh_token::RefreshToken, register::Register, reset_password::ResetPassword,
    send_otp::SendOtp, verify_otp::VerifyOtp,
};
use crate::{
    app::App,
    auth::revocations,
    http::{
        client_ip::ClientIp,
        fields::{Field, Otp},
    },
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
    address: ClientIp,
    user: User,
    since: DateTime<Utc>,
    message: &'static str,
) -> Result<LoggedIn> {
    let (access_token, refresh_token) = (app.signer.access(user.id)?, app.signer.refresh(user.id)?);
    let mut conn = app.db.acquire().await?;
    let expires_at = Utc::now() + tokens::REFRESH_VALID;
    let storage = app.settings.token_storage;
    sessions::keep_refresh_token(&mut conn, user.id, &refresh_token, storage, since, expires_at)
        .await?;
    login_networks::remember(&mut conn, user.id, &address.to_string()).await?;
    drop(conn);
    app.tokens.keep_refresh_token(&refresh_token, user.id).await;
    Ok(LoggedIn { user, access_token, refresh_token, message })
}

/// Makes this process forget the sessions before it responds; other processes are notified.
async fn forget_sessions(app: &App, user: UserId, ended: &EndedSessions) {
    app.tokens.end_sessions(user, ended).await;
    revocations::revoked(app, user).await;
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
