//! Handlers about what the buyers of an event are told: those of the bookings queue find the buyers,
//! those of the notifications queue tell them, at least once.

use std::{sync::Arc, time::Duration};

use nexus_common::{
    Error,
    bookings::event_notices::{self, Notice, ToSay},
    events::notices::{self, NoticeKind},
    jobs::{
        bookings::{RemindBuyers, TellBuyers},
        notifications::{EmailNotice, SmsNotice},
    },
    providers::smtp::Email,
    tickets::delivery::Portion,
    types::{ids::NoticeId, text},
};

use super::{
    bookings::Bookings,
    mail,
    messages::Beyond,
    notifications::{Notifications, shown_with},
    words_of,
};
use crate::{
    Attempt, Context, JobFailure,
    letters::{Letter, Templates},
};

/// See [`TellBuyers`].
pub async fn tell_buyers(
    cx: Arc<Context<Bookings>>,
    job: TellBuyers,
    attempt: Attempt,
) -> Result<(), JobFailure> {
    let mut tx = cx.db.begin().await?;
    if event_notices::tell_next(&mut tx, job.notice_id).await? {
        tx.commit().await?;
        return Err(JobFailure::Snooze(Duration::ZERO));
    }
    attempt.lease.complete(&mut tx).await?;
    tx.commit().await?;
    Ok(())
}

/// See [`RemindBuyers`].
pub async fn remind_buyers(
    cx: Arc<Context<Bookings>>,
    _job: RemindBuyers,
    attempt: Attempt,
) -> Result<(), JobFailure> {
    let Some(ahead) = cx.remind else { return Ok(()) };
    let mut tx = cx.db.begin().await?;
    notices::remind(&mut tx, ahead).await?;
    attempt.lease.complete(&mut tx).await?;
    tx.commit().await?;
    Ok(())
}

/// See [`EmailNotice`].
pub async fn email_notice(
    cx: Arc<Context<Notifications>>,
    job: EmailNotice,
    _attempt: Attempt,
) -> Result<(), JobFailure> {
    let portion = (job.booking_id, job.to);
    let Some(notice) = notice(&cx, portion, job.notice_id).await? else { return Ok(()) };
    let Some(to) = notice.email.clone() else { return Ok(()) };
    let beyond = match notice.kind {
        NoticeKind::Change => Beyond::Waits,
        NoticeKind::Reminder => Beyond::IsLeftOut,
    };
    let mut email = compose(&notice, to, &job, &cx.templates)?;
    if notice.kind == NoticeKind::Change {
        email.attachments = Notifications::changed_files(&cx, portion).await?;
    }
    Notifications::mail(&cx, notice.user, shown_with(portion), email, beyond).await
}

/// See [`SmsNotice`].
pub async fn sms_notice(
    cx: Arc<Context<Notifications>>,
    job: SmsNotice,
    _attempt: Attempt,
) -> Result<(), JobFailure> {
    let portion = (job.booking_id, job.to);
    let Some(notice) = notice(&cx, portion, job.notice_id).await? else { return Ok(()) };
    let Some(phone) = notice.phone.as_deref() else { return Ok(()) };
    let event: String = text::without_links(&notice.event_name).chars().take(100).collect();
    let place: String = text::without_links(&notice.is.place()).chars().take(200).collect();
    let when = notice.is.time_zone.short_moment(notice.is.start_date);
    let message = format!(
        "{event} (booking {}) has changed. It is now {when}, {place}. Your tickets stay valid.",
        notice.reference
    );
    Notifications::sms(&cx, notice.user, phone, &message).await
}

/// How long a message waits for a buyer who may be about to pay.
const UNTIL_PAID: Duration = Duration::from_secs(60);

async fn notice(
    cx: &Context<Notifications>,
    portion: Portion,
    notice: NoticeId,
) -> Result<Option<Box<Notice>>, JobFailure> {
    let mut conn = cx.db.acquire().await?;
    match event_notices::notice(&mut conn, portion, notice).await? {
        ToSay::Nothing => Ok(None),
        ToSay::NothingYet => Err(JobFailure::Snooze(UNTIL_PAID)),
        ToSay::Notice(notice) => Ok(Some(notice)),
    }
}

fn compose(
    notice: &Notice,
    to: String,
    job: &EmailNotice,
    templates: &Templates,
) -> Result<Email, Error> {
    let (name, reference) = (notice.name.as_deref(), notice.reference.as_str());
    let event = words_of(&notice.event_name, &notice.is);
    let was = words_of(&notice.event_name, &notice.was);
    let written = templates.write(&match notice.kind {
        NoticeKind::Change => Letter::Change { name, reference, event, was },
        NoticeKind::Reminder => Letter::Reminder { name, reference, event },
    })?;
    let whose = job.to.map(|user| format!("-{user}")).unwrap_or_default();
    let message_id = format!("notice-{}-{}{whose}", job.notice_id, reference.to_lowercase());
    Ok(mail(to, notice.name.clone(), written, message_id))
}
