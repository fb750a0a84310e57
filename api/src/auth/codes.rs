//! One-time passwords by SMS: having one sent, and checking one.
//!
//! Twilio checks a phone's code five times, whoever asks, and so strangers who guess could use up
//! its owner's tries. So each caller has a few wrong guesses of its own, and those of all callers
//! who can show as little are bounded together, such that some are left for the others; see
//! `docs/limits.md`. A caller shows a challenge that came with the code, an account or a network
//! that is the owner's, or a network in which a code was asked for.

use nexus_common::{
    Error, Result,
    accounts::{
        credentials::{Login, Otp},
        login_networks,
        otp_challenges::OtpPurpose,
    },
    config::Limit,
    jobs::{self, otp::SendOtp, wakeups},
    providers::twilio::{CodeCheck, Service},
    types::{contacts::Phone, ids::UserId},
};

use crate::{
    admission::away,
    app::App,
    budgets::{Claimant, Guesser, Shown},
    http::{client_ip::ClientIp, solution::Solution},
};

/// Who asks about a code.
#[derive(Clone, Copy)]
pub(crate) struct CodeCaller<'a> {
    pub(crate) address: ClientIp,
    /// The account to which the caller is logged in.
    pub(crate) session: Option<UserId>,
    /// The challenge that came with the code, if the client sends it.
    pub(crate) challenge: Option<&'a str>,
}

/// Has a code sent; returns the challenge that belongs to it. After a wrong guess another code
/// takes the place of the one that was guessed, with all tries.
pub(crate) async fn send(
    app: &App,
    address: ClientIp,
    phone: &Phone,
    purpose: Option<OtpPurpose>,
    solution: &Solution,
) -> Result<String> {
    // Without credentials, no worker would send it.
    let twilio = app.twilio()?;
    let service = twilio.service(purpose == Some(OtpPurpose::ResetPassword));
    let claimant = Claimant::find(&app.db, address, &Login::from(phone)).await?;
    app.budgets.otp_send(claimant, phone, solution).await?;
    let hints = &app.otp_hints;
    let replaces = hints.was_guessed(phone, service).await;
    let job =
        SendOtp { phone: phone.as_str().to_owned(), reset: service == Service::Reset, replaces };
    let sent = jobs::enqueue(&mut *app.db.acquire().await?, &job).await?;
    wakeups::committed();
    // Unless a job that is older than the guess is about to send the same code again.
    if sent.is_some() && job.replaces.is_some() {
        hints.forget_guessed(phone, service).await;
        app.budgets.forget_guesses(service, phone, address).await;
    }
    hints.asked(phone, &address.to_string()).await;
    app.challenges.issue(phone, purpose)
}

/// Whether the caller has the phone's code, which is then used up.
pub(crate) async fn check(
    app: &App,
    caller: CodeCaller<'_>,
    phone: &Phone,
    purpose: OtpPurpose,
    otp: &Otp,
) -> Result<()> {
    let twilio = app.twilio()?;
    let resets = purpose == OtpPurpose::ResetPassword;
    let service = twilio.service(resets);
    let guesser = guesser(app, caller, phone, purpose).await?;
    let taken = app.budgets.otp_check(&guesser, service, phone, resets).await?;
    let checked = twilio.check_code(service, phone.as_str(), otp.as_str());
    let checked = match away(checked).await.map_err(Error::from) {
        Ok(CodeCheck::Approved) => Ok(()),
        Ok(CodeCheck::Wrong(verification)) => {
            app.otp_hints.guessed(phone, service, &verification).await;
            return Err(Error::OtpWrong);
        }
        Ok(CodeCheck::NotFound) => Err(Error::OtpExpired),
        Ok(CodeCheck::TooManyAttempts) => Err(Error::OtpAttempts),
        Err(error) => Err(error),
    };
    // Only a wrong code counts.
    app.budgets.give_back(&taken, &Limit::GUESSES).await;
    checked
}

async fn guesser(
    app: &App,
    caller: CodeCaller<'_>,
    phone: &Phone,
    purpose: OtpPurpose,
) -> Result<Guesser> {
    let CodeCaller { address, session, challenge } = caller;
    let network = address.to_string();
    let challenge = match challenge {
        None => None,
        // Its code has expired with it, or was for another purpose.
        Some(text) => Some(app.challenges.verify(text, phone, purpose).ok_or(Error::OtpExpired)?),
    };
    let is_own = login_networks::is_own(
        &mut *app.db.acquire().await?,
        &Login::from(phone),
        &network,
        session,
    )
    .await?;
    let shown = match (is_own, &challenge) {
        (true, _) => Shown::Owner,
        (false, Some(_)) => Shown::Asked,
        (false, None) if app.otp_hints.was_asked(phone, &network).await => Shown::Asked,
        (false, None) => Shown::Nothing,
    };
    let whose = challenge.map_or(network, |challenge| challenge.as_str().to_owned());
    Ok(Guesser { address, shown, whose })
}
