//! Accounts and sessions (docs/contract.md#accounts).

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use nexus_common::{
    Error, Result,
    accounts::{
        credentials::{self, Login, Registration},
        login_networks, passwords,
        sessions::{self, EndedSessions},
        tokens,
        users::{self, User},
    },
    jobs::{self, otp::SendOtp},
    types::{contacts::Phone, ids::UserId},
};
use serde_json::{Value, json};

use crate::{
    address::ClientAddress,
    answers::{
        LoggedIn, LoggedOutOfAll, Me, Message, OtpSent, OtpVerified, PasswordReset, Refreshed,
        UsernameChecked,
    },
    app::App,
    error::Outcome,
    extract::{Caller, Fields},
    login, revocations,
};

/// `POST /auth/register`
pub(crate) async fn register(
    State(app): State<App>,
    address: ClientAddress,
    Fields(input): Fields,
) -> Outcome<Json<Value>> {
    let since = Utc::now();
    let new = Registration::parse(&input)?;
    app.limits.registration(address).await?;
    // Hashed before a connection is taken: it takes a while.
    let hash = passwords::hash(new.password.clone()).await?;
    let mut conn = app.db.acquire().await?;
    let user = users::register(&mut conn, &new, &hash).await?;
    drop(conn);
    let login = open_session(&app, address, user, since, "User registered successfully").await?;
    Ok(Json(json!({ "data": login })))
}

/// `POST /auth/login`
pub(crate) async fn login(
    State(app): State<App>,
    address: ClientAddress,
    Fields(input): Fields,
) -> Outcome<Json<Value>> {
    let since = Utc::now();
    let (login, password) = Login::parse(&input)?;
    let user = login::with_password(&app, address, &login, password).await?;
    let login = open_session(&app, address, user, since, "Login successful").await?;
    Ok(Json(json!({ "data": login })))
}

/// `POST /auth/logout`
pub(crate) async fn logout(
    State(app): State<App>,
    caller: Caller,
    Fields(input): Fields,
) -> Outcome<Json<Value>> {
    let expires_at = app.signer.verify_access(&caller.token)?.expires_at;
    let mut tx = app.db.begin().await?;
    let storage = app.settings.token_storage;
    sessions::revoke_access_token(&mut tx, caller.user, &caller.token, storage, expires_at).await?;
    let refresh = match input.text("refreshToken") {
        // Somebody else's is left alone (docs/contract.md#change-12).
        Some(token) if sessions::revoke_refresh_token(&mut tx, caller.user, token).await? => {
            Some(token)
        }
        _ => None,
    };
    tx.commit().await?;
    let left = (expires_at - Utc::now()).to_std().unwrap_or_default();
    app.tokens.revoke(&caller.token, left).await;
    revocations::revoked(&app, caller.user).await;
    if let Some(token) = refresh {
        app.tokens.drop_refresh_token(token).await;
        // Where the Node service looks before anything else.
        app.tokens.revoke(token, tokens::REFRESH_VALID).await;
    }
    Ok(Json(json!({ "data": Message { message: "Logout successful" } })))
}

/// `POST /auth/refresh-token`
pub(crate) async fn refresh(State(app): State<App>, Fields(input): Fields) -> Outcome<Json<Value>> {
    let token = match input.get("refreshToken") {
        None => return Err(Error::invalid("Refresh token is required").into()),
        Some(value) => value.as_str().ok_or(Error::RefreshInvalid)?,
    };
    if token.is_empty() {
        return Err(Error::invalid("Refresh token is required").into());
    }
    let verified = app.signer.verify_refresh(token)?;
    let user = verified.user;
    if app.tokens.is_revoked(token, &verified).await == Some(true) {
        return Err(Error::RefreshRevoked.into());
    }
    // Before the last look at the refresh token: see there.
    let access = app.signer.access(user)?;
    let mut conn = app.db.acquire().await?;
    sessions::check_refresh_token(&mut conn, user, token).await?;
    drop(conn);
    let data = Refreshed { access_token: access, message: "Access token refreshed successfully" };
    Ok(Json(json!({ "data": data })))
}

/// `POST /auth/send-otp`: a job sends it, so that a provider's bad minute delays the message and
/// loses nothing.
pub(crate) async fn send_otp(
    State(app): State<App>,
    address: ClientAddress,
    Fields(input): Fields,
) -> Outcome<Json<Value>> {
    let phone = Phone::of(&input, "Phone number is required").map_err(Error::from)?;
    // Nobody would send it.
    app.twilio()?;
    let claimant = login::claimant(&app, address, &Login::from(&phone)).await?;
    app.limits.otp_send(claimant, &phone).await?;
    let mut conn = app.db.acquire().await?;
    jobs::enqueue(&mut conn, &SendOtp { phone: phone.as_str().to_owned() }).await?;
    let data = OtpSent {
        success: true,
        message: "OTP sent successfully",
        status: "pending",
        expires_in: "10 minutes",
    };
    Ok(Json(json!({ "data": data })))
}

/// `POST /auth/verify-otp`
pub(crate) async fn verify_otp(
    State(app): State<App>,
    address: ClientAddress,
    Fields(input): Fields,
) -> Outcome<Json<Value>> {
    let (phone, otp) = credentials::phone_and_otp(&input)?;
    let since = Utc::now();
    let claimant = login::claimant(&app, address, &Login::from(&phone)).await?;
    let taken = app.limits.otp_check(claimant, &phone).await?;
    login::check_code(&app, taken, &phone, &otp).await?;
    let mut tx = app.db.begin().await?;
    let (user, is_new) = users::find_or_create_by_phone(&mut tx, &phone).await?;
    tx.commit().await?;
    let message = if is_new {
        "OTP verified, user created and login successful"
    } else {
        "OTP verified and login successful"
    };
    let login = open_session(&app, address, user, since, message).await?;
    Ok(Json(json!({ "data": OtpVerified { login, is_new_user: is_new } })))
}

/// `POST /auth/check-unique-username`
pub(crate) async fn check_username(
    State(app): State<App>,
    Fields(input): Fields,
) -> Outcome<Json<Value>> {
    let username = credentials::normalised_username(&input)?;
    let mut conn = app.db.acquire().await?;
    let is_available = users::username_is_available(&mut conn, &username).await?;
    let message = if is_available { "Username is available" } else { "Username is already taken" };
    Ok(Json(json!({ "data": UsernameChecked { is_available, username, message } })))
}

/// `GET /auth/me`
pub(crate) async fn me(State(app): State<App>, caller: Caller) -> Outcome<Json<Value>> {
    let mut conn = app.db.acquire().await?;
    let user = users::get(&mut conn, caller.user).await?.ok_or(Error::TokenInvalid)?;
    Ok(Json(json!({ "data": Me { user } })))
}

/// `POST /auth/reset-password`: whoever has the phone may set a new password; then every session
/// ends.
pub(crate) async fn reset_password(
    State(app): State<App>,
    address: ClientAddress,
    Fields(input): Fields,
) -> Outcome<Json<Value>> {
    let reset = credentials::PasswordReset::parse(&input)?;
    let claimant = login::claimant(&app, address, &Login::from(&reset.phone)).await?;
    let taken = app.limits.password_reset(claimant, &reset.phone).await?;
    login::check_code(&app, taken, &reset.phone, &reset.otp).await?;
    let hash = passwords::hash(reset.password).await?;
    let mut tx = app.db.begin().await?;
    let user = users::set_password(&mut tx, &reset.phone, &hash).await?;
    let ended = sessions::end_sessions(&mut tx, user).await?;
    tx.commit().await?;
    forget_sessions(&app, user, &ended).await;
    let data = PasswordReset {
        message: "Password reset successful. Please login with your new password.",
        security_note: "All existing sessions have been terminated for security.",
    };
    Ok(Json(json!({ "data": data })))
}

/// `POST /auth/logout-all`: ends every session of the caller, this one included.
pub(crate) async fn logout_all(State(app): State<App>, caller: Caller) -> Outcome<Json<Value>> {
    let mut tx = app.db.begin().await?;
    let ended = sessions::end_sessions(&mut tx, caller.user).await?;
    tx.commit().await?;
    forget_sessions(&app, caller.user, &ended).await;
    let data = LoggedOutOfAll {
        message: "Logged out of all sessions",
        sessions_ended: ended.refresh_tokens.len(),
    };
    Ok(Json(json!({ "data": data })))
}

/// Makes it known before the answer; other processes hear of it by themselves.
async fn forget_sessions(app: &App, user: UserId, ended: &EndedSessions) {
    app.tokens.end_sessions(user, ended).await;
    revocations::revoked(app, user).await;
}

/// Opens a session for whoever proved after `since` to be `user`, and remembers from where.
async fn open_session(
    app: &App,
    address: ClientAddress,
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
