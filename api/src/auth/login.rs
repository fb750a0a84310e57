//! Proving a caller's identity, by a password or by a code sent to their phone, within limits (see
//! [`budgets`](crate::budgets)).

use nexus_common::{
    Error, Result,
    accounts::{
        credentials::{Login, Otp, Registration},
        otp_challenges::OtpPurpose,
        passwords::{self, Verdict},
        users::{self, Account, User},
    },
    audit::{self, Action},
    config::Limit,
    types::{contacts::Phone, ids::UserId},
};

use serde_json::json;

use super::codes::{self, CodeCaller};
use crate::{
    admission::away,
    app::App,
    budgets::Claimant,
    http::{client_ip::ClientIp, solution::Solution},
};

/// What a password opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opens {
    /// A session of the API.
    Api,
    /// The operators' pages. Accounts that are no operator's have no password here: theirs is not
    /// even compared, so that nobody finds out here whether it is right.
    Pages,
}

/// The user who has this password. An attempt that a limit refuses hashes nothing, and looks the
/// same whether or not the account exists.
pub(crate) async fn with_password(
    app: &App,
    address: ClientIp,
    login: &Login,
    password: String,
    solution: &Solution,
    opens: Opens,
) -> Result<User> {
    let claimant = Claimant::find(&app.db, address, login).await?;
    let taken = app.budgets.login(claimant, login, solution).await?;
    let user = compare(app, address, login, password, opens).await;
    // Only a wrong password counts for the address, and against the account.
    let uncounted: &[Limit] = match user {
        Err(Error::BadCredentials) => &Limit::WRONG_LOGIN,
        _ => &Limit::RIGHT_LOGIN,
    };
    app.budgets.give_back(&taken, uncounted).await;
    user
}

async fn compare(
    app: &App,
    address: ClientIp,
    login: &Login,
    password: String,
    opens: Opens,
) -> Result<User> {
    let mut conn = app.db.acquire().await?;
    let accounts = users::find(&mut conn, login, &address.to_string()).await?;
    drop(conn);
    let tried = accounts.first().map(|account| account.user.id);
    let mut opening =
        accounts.into_iter().filter(|account| opens == Opens::Api || account.operates).peekable();
    if opening.peek().is_none() {
        // Compared whether or not the account exists: the time must not tell.
        away(passwords::verify(password.clone(), None)).await?;
    }
    for account in opening {
        if has_password(app, &account, password.clone()).await? {
            return Ok(account.user);
        }
    }
    if let Some(tried) = tried {
        tokio::spawn(audit::on_behalf(record_failure(app.clone(), tried)));
    }
    Err(Error::BadCredentials)
}

/// Records a wrong password. Beside the response, whose time must not tell that there is such an
/// account. Limits bound how many there can be.
async fn record_failure(app: App, user: UserId) {
    let recorded = async {
        let mut conn = app.db.acquire().await?;
        audit::record(&mut conn, Action::SignInFailed, None, user, json!({})).await
    };
    if let Err(error) = recorded.await {
        tracing::warn!(error = error.details(), "a failed login is not in the audit log");
    }
}

async fn has_password(app: &App, account: &Account, password: String) -> Result<bool> {
    match away(passwords::verify(password, account.password_hash.clone())).await? {
        Verdict::Wrong => Ok(false),
        Verdict::Right => Ok(true),
        Verdict::RightRehash(new) => {
            let old = account.password_hash.as_deref().unwrap_or_default();
            users::rehash(&mut *app.db.acquire().await?, account.user.id, old, &new).await?;
            Ok(true)
        }
    }
}

/// Whether there is an account for a contact of `new` already: one that has proved it, or one that
/// claims it and has the same password. Who clicks twice, or has forgotten, gets no second
/// account. Wrong passwords count as those of logins; once too many were wrong, none is looked at.
pub(crate) async fn has_registered(
    app: &App,
    address: ClientIp,
    new: &Registration,
) -> Result<bool> {
    let email = new.email.as_ref().and_then(|email| Login::by_email(email.as_str()));
    for login in email.into_iter().chain(new.phone.as_ref().map(Login::from)) {
        let network = address.to_string();
        match users::find(&mut *app.db.acquire().await?, &login, &network).await?.first() {
            None => continue,
            Some(account) if account.proved => return Ok(true),
            Some(_) => {}
        }
        let claimant = Claimant::find(&app.db, address, &login).await?;
        let taken = match app.budgets.password_failure(claimant, &login).await {
            Err(Error::RateLimited(_)) => continue,
            taken => taken?,
        };
        match compare(app, address, &login, new.password.clone(), Opens::Api).await {
            Err(Error::BadCredentials) => {}
            known => {
                app.budgets.give_back(&taken, &[Limit::LoginFailures]).await;
                return known.map(|_| true);
            }
        }
    }
    Ok(false)
}

/// Checks that it is still the user who asks, before something that a thief of the access token
/// could take the account over with: by the password, or, if the account has none, by a code that
/// was sent to its phone.
pub(crate) async fn reauthenticate(
    app: &App,
    address: ClientIp,
    user: UserId,
    password: Option<String>,
    otp: Option<Otp>,
) -> Result<()> {
    let mut conn = app.db.acquire().await?;
    let (hash, phone) = users::proofs(&mut conn, user).await?;
    drop(conn);
    match (hash, phone) {
        (Some(hash), _) => {
            let password = password.ok_or(Error::ReauthenticationNeeded("Password"))?;
            check_password(app, user, password, hash).await
        }
        (None, Some(phone)) => {
            let missing = || Error::ReauthenticationNeeded("OTP of the current phone number");
            let phone = Phone::parse(&phone).ok_or_else(missing)?;
            let otp = otp.ok_or_else(missing)?;
            let caller = CodeCaller { address, session: Some(user), challenge: None };
            codes::check(app, caller, &phone, OtpPurpose::Login, &otp).await
        }
        (None, None) => Ok(()),
    }
}

/// Compares a password with the hash of an account that is known already.
pub(crate) async fn check_password(
    app: &App,
    user: UserId,
    password: String,
    hash: String,
) -> Result<()> {
    let taken = app.budgets.own_password(user).await?;
    if away(passwords::verify(password, Some(hash))).await? == Verdict::Wrong {
        return Err(Error::PasswordWrong);
    }
    app.budgets.give_back(&taken, &[Limit::LoginFailures]).await;
    Ok(())
}
