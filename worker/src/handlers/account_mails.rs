//! Handlers of the notifications queue about accounts: mails that prove an address, that set another
//! password, and that tell an old contact of its replacement. Like all handlers of that queue, they
//! run at least once; the link and the code of a mail are worth nothing once another one is made.

use std::sync::Arc;

use nexus_common::{
    accounts::{email_proofs, users::contacts_of},
    jobs::notifications::{
        AccountErased, AccountNotice, Change, EmailReplaced, PhoneReplaced, RecoverPassword,
        VerifyEmail,
    },
    providers::smtp::Email,
    types::contacts,
};
use uuid::Uuid;

use super::{mail, messages::post, needed, notifications::Notifications, outward};
use crate::{
    Attempt, Context, JobFailure,
    letters::{Letter, Written},
};

/// See [`VerifyEmail`].
pub async fn verify_email(
    cx: Arc<Context<Notifications>>,
    job: VerifyEmail,
    _attempt: Attempt,
) -> Result<(), JobFailure> {
    let smtp = needed(&cx.smtp)?;
    let letter = email_proofs::verification(&mut *cx.db.acquire().await?, job.user_id).await?;
    let Some(letter) = letter else { return Ok(()) };
    let link = letter.link.as_ref().and_then(|token| cx.link("verify-email", token));
    let written =
        cx.templates.write(&Letter::VerifyEmail { code: &letter.code, link: link.as_deref() })?;
    post(smtp, account_mail(letter.to, None, written)).await
}

/// See [`RecoverPassword`].
pub async fn recover_password(
    cx: Arc<Context<Notifications>>,
    job: RecoverPassword,
    _attempt: Attempt,
) -> Result<(), JobFailure> {
    if cx.public_url.is_none() {
        tracing::warn!("no password is recovered by mail: PUBLIC_URL is not set");
        return Ok(());
    }
    let smtp = needed(&cx.smtp)?;
    let Some(email) = contacts::Email::parse(&job.email) else { return Ok(()) };
    let letter = email_proofs::recovery(&mut *cx.db.acquire().await?, &email).await?;
    let Some(letter) = letter else { return Ok(()) };
    let Some(link) = cx.link("reset-password", &letter.link) else { return Ok(()) };
    let name = letter.name.as_deref();
    let written = cx.templates.write(&Letter::RecoverPassword { name, link: &link })?;
    post(smtp, account_mail(letter.to, letter.name, written)).await
}

/// See [`AccountNotice`]. By SMS to who has proved no e-mail address.
pub async fn account_notice(
    cx: Arc<Context<Notifications>>,
    job: AccountNotice,
    _attempt: Attempt,
) -> Result<(), JobFailure> {
    let reachable = contacts_of(&mut *cx.db.acquire().await?, job.user_id).await?;
    let at = cx.time_zone.moment(job.at);
    let (subject, what) = match job.change {
        Change::PasswordReset => (
            "Your password was reset",
            "another password was set for your account, with a code or a link that was sent to you; all sessions have ended",
        ),
        Change::PasswordChanged => (
            "Your password was changed",
            "the password of your account was changed; all other sessions have ended",
        ),
        Change::NewDevice => (
            "A new login to your account",
            "somebody has logged in to your account with a device and from a network that it does not know",
        ),
    };
    if let Some(to) = reachable.email {
        let written = cx.templates.write(&Letter::AccountNotice { subject, what, at: &at })?;
        let mail = account_mail(to, reachable.name, written);
        return post(needed(&cx.smtp)?, mail).await;
    }
    let (Some(phone), Some(twilio)) = (reachable.phone, cx.texts()?) else { return Ok(()) };
    let text = format!("{subject} ({at}). If that was not you, please write to us.");
    twilio.send_sms(&phone, &text).await.map_err(outward)
}

/// See [`EmailReplaced`].
pub async fn email_replaced(
    cx: Arc<Context<Notifications>>,
    job: EmailReplaced,
    _attempt: Attempt,
) -> Result<(), JobFailure> {
    // It may have been replaced because no mail can be sent there.
    if contacts::Email::parse(&job.to).is_none() {
        return Ok(());
    }
    let mail = account_mail(job.to, None, cx.templates.write(&Letter::EmailReplaced {})?);
    post(needed(&cx.smtp)?, mail).await
}

/// See [`PhoneReplaced`].
pub async fn phone_replaced(
    cx: Arc<Context<Notifications>>,
    job: PhoneReplaced,
    _attempt: Attempt,
) -> Result<(), JobFailure> {
    let Some(twilio) = cx.texts()? else { return Ok(()) };
    let text = "This number is no longer that of your account: another one was verified. If that was not you, please write to us.";
    twilio.send_sms(&job.to, text).await.map_err(outward)
}

/// See [`AccountErased`].
pub async fn account_erased(
    cx: Arc<Context<Notifications>>,
    job: AccountErased,
    _attempt: Attempt,
) -> Result<(), JobFailure> {
    const SUBJECT: &str = "Your account was deleted";
    if let Some(to) = job.email {
        // It may be one from before, to which no mail can be sent.
        if contacts::Email::parse(&to).is_none() {
            return Ok(());
        }
        let mail = account_mail(to, None, cx.templates.write(&Letter::AccountErased {})?);
        return post(needed(&cx.smtp)?, mail).await;
    }
    let (Some(phone), Some(twilio)) = (job.phone, cx.texts()?) else { return Ok(()) };
    let text = format!("{SUBJECT}. If that was not you, please write to us.");
    twilio.send_sms(&phone, &text).await.map_err(outward)
}

impl Notifications {
    /// The address of a page of the API for who has been mailed this token.
    fn link(&self, page: &str, token: &str) -> Option<String> {
        let base = self.public_url.as_ref()?;
        Some(format!("{base}/account/{page}?token={token}"))
    }
}

fn account_mail(to: String, to_name: Option<String>, written: Written) -> Email {
    // Each has its own link and code.
    mail(to, to_name, written, format!("account-{}", Uuid::new_v4()))
}
