//! Proving a caller's identity, by a password or by a code sent to their phone, within limits (see
//! [`budgets`](crate::budgets)).

use nexus_common::{
    Error, Result,
    accounts::{
        credentials::{Login, Otp},
        login_networks,
        passwords::{self, Verdict},
        users::{self, User},
    },
    config::Limit,
    limiter::Taken,
    providers::twilio::CodeCheck,
    types::contacts::Phone,
};

use crate::{app::App, budgets::Claimant, http::client_ip::ClientIp};

/// The claimant who wants to log in as `login` from `address`.
pub(crate) async fn claimant(app: &App, address: ClientIp, login: &Login) -> Result<Claimant> {
    let mut conn = app.db.acquire().await?;
    let at_home = login_networks::is_own(&mut conn, login, &address.to_string()).await?;
    Ok(Claimant { address, at_home })
}

/// The user who has this password. An attempt that a limit refuses hashes nothing, and looks the
/// same whether or not the account exists.
pub(crate) async fn with_password(
    app: &App,
    address: ClientIp,
    login: &Login,
    password: String,
) -> Result<User> {
    let claimant = claimant(app, address, login).await?;
    let taken = app.budgets.login(claimant, login).await?;
    let user = compare(app, login, password).await;
    // Only a wrong password counts against the account.
    if !matches!(user, Err(Error::BadCredentials)) {
        app.budgets.give_back(&taken, &[Limit::LoginFailures]).await;
    }
    user
}

async fn compare(app: &App, login: &Login, password: String) -> Result<User> {
    let mut conn = app.db.acquire().await?;
    let account = users::find(&mut conn, login).await?;
    drop(conn);
    let stored = account.as_ref().and_then(|account| account.password_hash.clone());
    // Compared whether or not the account exists: the time must not tell.
    let verdict = passwords::verify(password, stored.clone()).await?;
    let user = account.ok_or(Error::BadCredentials)?.user;
    match verdict {
        Verdict::Wrong => return Err(Error::BadCredentials),
        Verdict::Right => {}
        Verdict::RightRehash(new) => {
            let mut conn = app.db.acquire().await?;
            users::rehash(&mut conn, user.id, &stored.unwrap_or_default(), &new).await?;
        }
    }
    Ok(user)
}

/// Asks Twilio about a code. Unless the code is wrong, gives back the failure budgets in `taken`.
pub(crate) async fn check_code(app: &App, taken: Taken, phone: &Phone, otp: &Otp) -> Result<()> {
    let checked =
        match app.twilio()?.check_code(phone.as_str(), otp.as_str()).await.map_err(Error::from) {
            Ok(CodeCheck::Approved) => Ok(()),
            Ok(CodeCheck::Wrong) => Err(Error::OtpWrong),
            Ok(CodeCheck::NotFound) => Err(Error::OtpExpired),
            Ok(CodeCheck::TooManyAttempts) => Err(Error::OtpAttempts),
            Err(error) => Err(error),
        };
    if !matches!(checked, Err(Error::OtpWrong)) {
        app.budgets.give_back(&taken, &[Limit::OtpFailures, Limit::OtpFailuresAddress]).await;
    }
    checked
}
