//! Handlers of the notifications queue that tell buyers about cancelled bookings. Like all handlers
//! of that queue, they run at least once.

use std::sync::Arc;

use askama::Template;
use nexus_common::{
    bookings::cancellation_notices::{self, Notice},
    jobs::notifications::{EmailCancellation, SmsCancellation},
    providers::smtp::Email,
    types::text,
};

use super::{bodies, messages::Beyond, notifications::Notifications};
use crate::{Attempt, Context, JobFailure};

/// See [`EmailCancellation`].
pub async fn email_cancellation(
    cx: Arc<Context<Notifications>>,
    job: EmailCancellation,
    _attempt: Attempt,
) -> Result<(), JobFailure> {
    let booking = job.booking_id;
    let notice = cancellation_notices::notice(&mut *cx.db.acquire().await?, booking).await?;
    let Some(notice) = notice else { return Ok(()) };
    let Some(to) = notice.email.clone() else { return Ok(()) };
    Notifications::mail(&cx, notice.user, compose(&notice, to)?, Beyond::IsLeftOut).await
}

/// See [`SmsCancellation`].
pub async fn sms_cancellation(
    cx: Arc<Context<Notifications>>,
    job: SmsCancellation,
    _attempt: Attempt,
) -> Result<(), JobFailure> {
    let booking = job.booking_id;
    let notice = cancellation_notices::notice(&mut *cx.db.acquire().await?, booking).await?;
    let Some(notice) = notice else { return Ok(()) };
    let Some(phone) = notice.phone.as_deref() else { return Ok(()) };
    let event: String = text::without_links(&notice.event_name).chars().take(100).collect();
    let refund = notice
        .refund
        .map(|refund| format!(" {} will be refunded.", refund.written()))
        .unwrap_or_default();
    let message =
        format!("Your booking {} for {event} has been cancelled.{refund}", notice.reference);
    Notifications::sms(&cx, notice.user, phone, &message).await
}

#[derive(Template)]
#[template(path = "cancellation.txt")]
struct Text<'a> {
    notice: &'a Notice,
}

#[derive(Template)]
#[template(path = "cancellation.html")]
struct Html<'a> {
    notice: &'a Notice,
}

fn compose(notice: &Notice, to: String) -> Result<Email, JobFailure> {
    let (text, html) = bodies(Text { notice }, Html { notice })?;
    Ok(Email {
        to,
        to_name: notice.name.clone(),
        subject: format!(
            "Your booking for {} is cancelled",
            text::without_links(&notice.event_name)
        ),
        text,
        html,
        message_id: format!("cancelled-{}", notice.reference.to_lowercase()),
        images: vec![],
    })
}
