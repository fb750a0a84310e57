//! Handlers of the notifications queue that tell buyers about money that goes back. Like all
//! handlers of that queue, they run at least once.

use std::sync::Arc;

use nexus_common::{
    Error,
    payments::refund_notices::{self, Notice},
    providers::smtp::Email,
    types::ids::RefundId,
};

use super::{mail, messages::Beyond, notifications::Notifications};
use crate::{
    Context, JobFailure,
    letters::{Letter, Templates},
};

/// Which refund the buyer is told of.
pub enum Refund {
    /// Our refund of a whole payment: `refunds.id`.
    Whole(RefundId),
    /// A manual refund of a part: its id at Razorpay, `rfnd_…`.
    Part(String),
}

/// Tells the buyer by e-mail, if there is an address.
pub async fn email(cx: Arc<Context<Notifications>>, refund: Refund) -> Result<(), JobFailure> {
    let Some(notice) = notice(&cx, refund).await? else { return Ok(()) };
    let Some(to) = notice.email.clone() else { return Ok(()) };
    let mail = compose(&notice, to, &cx.templates)?;
    Notifications::mail(&cx, notice.user, notice.booking, mail, Beyond::IsLeftOut).await
}

/// Tells the buyer by SMS, if there is a phone number.
pub async fn sms(cx: Arc<Context<Notifications>>, refund: Refund) -> Result<(), JobFailure> {
    let Some(notice) = notice(&cx, refund).await? else { return Ok(()) };
    let Some(phone) = notice.phone.as_deref() else { return Ok(()) };
    Notifications::sms(&cx, notice.user, phone, &sentence(&notice, "Your")).await
}

async fn notice(
    cx: &Context<Notifications>,
    refund: Refund,
) -> nexus_common::Result<Option<Notice>> {
    let mut conn = cx.db.acquire().await?;
    match refund {
        Refund::Whole(id) => refund_notices::notice(&mut conn, id).await,
        Refund::Part(id) => refund_notices::part_notice(&mut conn, &id).await,
    }
}

/// `your payment of ₹200.00 for booking BKG-… goes back to you: …`, or `₹50.00 of your payment …`
fn sentence(notice: &Notice, your: &str) -> String {
    let booking =
        notice.reference.as_ref().map(|it| format!(" for booking {it}")).unwrap_or_default();
    let Notice { amount, reason, .. } = notice;
    let stands = if notice.stands { " Your booking stands." } else { "" };
    match &notice.part {
        None => format!("{your} payment of {amount}{booking} goes back to you: {reason}."),
        Some(part) => {
            format!(
                "{part} of your payment of {amount}{booking} goes back to you: {reason}.{stands}"
            )
        }
    }
}

fn compose(notice: &Notice, to: String, templates: &Templates) -> Result<Email, Error> {
    let written = templates.write(&Letter::Refund {
        name: notice.name.as_deref(),
        sentence: &sentence(notice, "your"),
        amount: notice.part.as_ref().unwrap_or(&notice.amount),
        is_part: notice.part.is_some(),
        event_name: notice.event_name.as_deref(),
        payment_id: &notice.payment_id,
    })?;
    let message_id = format!("refund-{}", notice.id.to_lowercase());
    Ok(mail(to, notice.name.clone(), written, message_id))
}
