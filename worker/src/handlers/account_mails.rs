//! Handlers of the notifications queue about accounts: mails that prove an address, that set another
//! password, and that tell an old contact of its replacement. Like all handlers of that queue, they
//! run at least once; the link and the code of a mail are worth nothing once another one is made.

use std::sync::Arc;

use askama::Template;
use nexus_common::{
    accounts::{
        email_proofs::{self, Recovery, Verification},
        users::contacts_of,
    },
    jobs::notifications::{
        AccountErased, AccountNotice, Change, EmailReplaced, PhoneReplaced, RecoverPassword,
        VerifyEmail,
    },
    providers::smtp::Email,
    types::contacts,
};
use uuid::Uuid;

use super::{bodies, needed, notifications::Notifications, outward};
use crate::{Attempt, Context, JobFailure};

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
    let content = bodies(
        VerifyText { letter: &letter, link: &link },
        VerifyHtml { letter: &letter, link: &link },
    )?;
    smtp.send(mail(letter.to, None, "Please verify your e-mail address", content))
        .await
        .map_err(outward)
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
    let content = bodies(
        RecoverText { letter: &letter, link: &link },
        RecoverHtml { letter: &letter, link: &link },
    )?;
    smtp.send(mail(letter.to, letter.name, "Set another password", content)).await.map_err(outward)
}

/// See [`AccountNotice`]. By SMS to who has proved no e-mail address.
pub async fn account_notice(
    cx: Arc<Context<Notifications>>,
    job: AccountNotice,
    _attempt: Attempt,
) -> Result<(), JobFailure> {
    let reachable = contacts_of(&mut *cx.db.acquire().await?, job.user_id).await?;
    let at = super::moment(&job.at.into());
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
        let content = bodies(NoticeText { what, at: &at }, NoticeHtml { what, at: &at })?;
        return needed(&cx.smtp)?
            .send(mail(to, reachable.name, subject, content))
            .await
            .map_err(outward);
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
    let content = bodies(ReplacedText {}, ReplacedHtml {})?;
    let mail = mail(job.to, None, "Your e-mail address was changed", content);
    needed(&cx.smtp)?.send(mail).await.map_err(outward)
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
        let content = bodies(ErasedText {}, ErasedHtml {})?;
        return needed(&cx.smtp)?.send(mail(to, None, SUBJECT, content)).await.map_err(outward);
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

fn mail(
    to: String,
    to_name: Option<String>,
    subject: &str,
    (text, html): (String, String),
) -> Email {
    Email {
        to,
        to_name,
        subject: subject.to_owned(),
        text,
        html,
        // Each has its own link and code.
        message_id: format!("account-{}", Uuid::new_v4()),
        images: vec![],
    }
}

#[derive(Template)]
#[template(path = "verify_email.txt")]
struct VerifyText<'a> {
    letter: &'a Verification,
    link: &'a Option<String>,
}

#[derive(Template)]
#[template(path = "verify_email.html")]
struct VerifyHtml<'a> {
    letter: &'a Verification,
    link: &'a Option<String>,
}

#[derive(Template)]
#[template(path = "recover_password.txt")]
struct RecoverText<'a> {
    letter: &'a Recovery,
    link: &'a str,
}

#[derive(Template)]
#[template(path = "recover_password.html")]
struct RecoverHtml<'a> {
    letter: &'a Recovery,
    link: &'a str,
}

#[derive(Template)]
#[template(path = "account_notice.txt")]
struct NoticeText<'a> {
    what: &'a str,
    at: &'a str,
}

#[derive(Template)]
#[template(path = "account_notice.html")]
struct NoticeHtml<'a> {
    what: &'a str,
    at: &'a str,
}

#[derive(Template)]
#[template(path = "email_replaced.txt")]
struct ReplacedText {}

#[derive(Template)]
#[template(path = "email_replaced.html")]
struct ReplacedHtml {}

#[derive(Template)]
#[template(path = "account_erased.txt")]
struct ErasedText {}

#[derive(Template)]
#[template(path = "account_erased.html")]
struct ErasedHtml {}
