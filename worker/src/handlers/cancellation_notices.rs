//! Handlers of the notifications queue that tell buyers about cancelled bookings. Like all handlers
//! of that queue, they run at least once.

use std::sync::Arc;

use nexus_common::{
    Error,
    bookings::cancellation_notices::{self, Notice},
    jobs::notifications::{EmailCancellation, SmsCancellation},
    providers::smtp::Email,
    types::{money::Paise, text},
};

use super::{
    mail,
    messages::Beyond,
    notifications::{Notifications, shown_with},
};
use crate::{
    Attempt, Context, JobFailure,
    letters::{Letter, Templates},
};

/// See [`EmailCancellation`].
pub async fn email_cancellation(
    cx: Arc<Context<Notifications>>,
    job: EmailCancellation,
    _attempt: Attempt,
) -> Result<(), JobFailure> {
    let portion = (job.booking_id, job.to);
    let notice = cancellation_notices::notice(&mut *cx.db.acquire().await?, portion).await?;
    let Some(notice) = notice else { return Ok(()) };
    let Some(to) = notice.email.clone() else { return Ok(()) };
    let mail = compose(&notice, to, &job, &cx.templates)?;
    Notifications::mail(&cx, notice.user, shown_with(portion), mail, Beyond::IsLeftOut).await
}

/// See [`SmsCancellation`].
pub async fn sms_cancellation(
    cx: Arc<Context<Notifications>>,
    job: SmsCancellation,
    _attempt: Attempt,
) -> Result<(), JobFailure> {
    let portion = (job.booking_id, job.to);
    let notice = cancellation_notices::notice(&mut *cx.db.acquire().await?, portion).await?;
    let Some(notice) = notice else { return Ok(()) };
    let Some(phone) = notice.phone.as_deref() else { return Ok(()) };
    let event: String = text::without_links(&notice.event_name).chars().take(100).collect();
    let refund = notice
        .refund
        .map(|refund| format!(" {} will be refunded.", refund.written()))
        .unwrap_or_default();
    let booking = if job.to.is_some() { "Booking" } else { "Your booking" };
    let message = format!("{booking} {} for {event} has been cancelled.{refund}", notice.reference);
    Notifications::sms(&cx, notice.user, phone, &message).await
}

fn compose(
    notice: &Notice,
    to: String,
    job: &EmailCancellation,
    templates: &Templates,
) -> Result<Email, Error> {
    let when = notice.time_zone.moment(notice.event_start);
    let written = templates.write(&Letter::Cancellation {
        name: notice.name.as_deref(),
        is_own: job.to.is_none(),
        reference: &notice.reference,
        event_name: text::one_line(&notice.event_name),
        when,
        reason: notice.reason.as_deref(),
        refund: notice.refund.map(Paise::written),
    })?;
    let whose = job.to.map(|user| format!("-{user}")).unwrap_or_default();
    let message_id = format!("cancelled-{}{whose}", notice.reference.to_lowercase());
    Ok(mail(to, notice.name.clone(), written, message_id))
}
