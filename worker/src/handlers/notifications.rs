//! Handlers of the notifications queue. They run at least once: see
//! [`nexus_common::jobs::notifications`].

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use askama::Template;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64_URL},
};
use nexus_common::{
    Error,
    config::{self, Env, RateLimits},
    jobs::notifications::{EmailTickets, SmsTickets},
    providers::{
        Key,
        smtp::{Email, Smtp},
        twilio::Twilio,
    },
    storage::groups::Groups,
    tickets::delivery::{self, Delivered, Delivery},
    types::{
        ids::{BookingId, UserId},
        text,
    },
};
use sha2::{Digest, Sha256};
use sqlx::PgPool;

use super::{
    bodies,
    messages::{Beyond, MessageBudgets},
    needed,
};
use crate::{Attempt, Build, Context, JobFailure};

/// What these handlers need besides the common context.
pub struct Notifications {
    pub(super) smtp: Option<Smtp>,
    pub(super) twilio: Option<Twilio>,
    /// PUBLIC_URL: where clients reach the API, without a slash at its end.
    pub(super) public_url: Option<String>,
    /// Reads what is to be delivered of many bookings; see [`Notifications::delivery`].
    deliveries: OnceLock<Groups<BookingId, Option<Delivery>>>,
    rates: RateLimits,
    budgets: OnceLock<MessageBudgets>,
}

impl Notifications {
    /// Reads the settings. A message that cannot be sent waits; a worker that could send nothing
    /// does not start.
    pub fn from_env(env: &mut Env) -> Build<Self> {
        let smtp = config::Smtp::optional(env, "e-mail, which waits");
        let twilio = config::Twilio::optional(env, "SMS, which wait");
        let public_url = config::public_url(env);
        let rates = RateLimits::from_env(env);
        if smtp.is_none() && twilio.is_none() {
            env.problem("SMTP_URL is missing, and so are TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN and TWILIO_VERIFY_SID: nothing can be sent");
        }
        Box::new(move || {
            let smtp = smtp.as_ref().map(Smtp::new).transpose()?;
            let twilio = twilio.as_ref().map(Twilio::new).transpose()?;
            let (deliveries, budgets) = (OnceLock::new(), OnceLock::new());
            Ok(Notifications { smtp, twilio, public_url, deliveries, rates, budgets })
        })
    }

    /// The keys that these handlers need.
    pub fn keys(&self) -> Vec<Key> {
        let smtp = self.smtp.as_ref().map(Smtp::key);
        smtp.into_iter().chain(self.twilio.as_ref().map(Twilio::key)).cloned().collect()
    }

    /// Sends a mail to a user, within the limits of messages.
    pub(super) async fn mail(
        cx: &Context<Self>,
        user: UserId,
        mail: Email,
        beyond: Beyond,
    ) -> Result<(), JobFailure> {
        Self::budgets(cx).mail(needed(&cx.smtp)?, user, mail, beyond).await
    }

    /// Sends an SMS to a user, within the limits of messages; none if Twilio has no sender.
    pub(super) async fn sms(
        cx: &Context<Self>,
        user: UserId,
        to: &str,
        text: &str,
    ) -> Result<(), JobFailure> {
        match cx.texts()? {
            Some(twilio) => Self::budgets(cx).sms(twilio, user, to, text).await,
            None => Ok(()),
        }
    }

    /// What sends SMS; `None` if none are to be sent, because Twilio has no sender.
    pub(super) fn texts(&self) -> Result<Option<&Twilio>, JobFailure> {
        Ok(Some(needed(&self.twilio)?).filter(|twilio| twilio.can_send_sms()))
    }

    fn budgets(cx: &Context<Self>) -> &MessageBudgets {
        cx.budgets.get_or_init(|| MessageBudgets::new(cx.rates.clone(), cx.cache.clone()))
    }

    /// What is to be delivered of a booking, read together with that of others; `None` if nothing.
    async fn delivery(cx: &Context<Self>, booking: BookingId) -> Result<Option<Delivery>, Error> {
        let deliveries = cx.deliveries.get_or_init(|| {
            let db = cx.db.clone();
            Groups::new(move |bookings| deliveries(db.clone(), bookings))
        });
        deliveries.call(booking).await
    }
}

async fn deliveries(
    db: PgPool,
    bookings: Vec<BookingId>,
) -> Result<Vec<Result<Option<Delivery>, Error>>, Error> {
    let found = delivery::deliveries(&mut *db.acquire().await?, &bookings).await?;
    Ok(bookings.iter().map(|booking| Ok(found.get(booking).cloned())).collect())
}

/// See [`EmailTickets`].
pub async fn email_tickets(
    cx: Arc<Context<Notifications>>,
    job: EmailTickets,
    attempt: Attempt,
) -> Result<(), JobFailure> {
    let Some(delivery) = Notifications::delivery(&cx, job.booking_id).await? else {
        return Ok(());
    };
    let Some(to) = delivery.email.clone().filter(|_| !delivery.email_sent) else { return Ok(()) };
    Notifications::mail(&cx, delivery.user, compose(&delivery, to)?, Beyond::Waits).await?;
    // Not together with others: one that had to be tried again would be sent again.
    let mut conn = cx.db.acquire().await?;
    let (tickets, lease) = (&delivery.tickets, &attempt.lease);
    match delivery::mark_emailed(&mut conn, job.booking_id, tickets, lease).await? {
        true => Ok(()),
        false => Err(JobFailure::Snooze(Duration::ZERO)),
    }
}

/// See [`SmsTickets`].
pub async fn sms_tickets(
    cx: Arc<Context<Notifications>>,
    job: SmsTickets,
    attempt: Attempt,
) -> Result<(), JobFailure> {
    let booking = job.booking_id;
    let Some(delivery) = Notifications::delivery(&cx, booking).await? else { return Ok(()) };
    let Some(phone) = delivery.phone.as_deref().filter(|_| !delivery.sms_sent) else {
        return Ok(());
    };
    let seats: Vec<&str> =
        delivery.tickets.iter().map(|ticket| ticket.seat_label.as_str()).collect();
    let event: String = text::without_links(&delivery.event_name).chars().take(100).collect();
    let message = format!(
        "Your tickets for {event} are ready. Booking {}, seat(s) {}.",
        delivery.reference,
        seats.join(", ")
    );
    let message: String = message.chars().take(1600).collect();
    Notifications::sms(&cx, delivery.user, phone, &message).await?;
    let mut tx = cx.db.begin().await?;
    delivery::mark_texted(&mut tx, booking).await?;
    attempt.lease.complete(&mut tx).await?;
    tx.commit().await?;
    Ok(())
}

#[derive(Template)]
#[template(path = "tickets.txt")]
struct Text<'a> {
    delivery: &'a Delivery,
}

#[derive(Template)]
#[template(path = "tickets.html")]
struct Html<'a> {
    delivery: &'a Delivery,
}

fn compose(delivery: &Delivery, to: String) -> Result<Email, JobFailure> {
    let (text, html) = bodies(Text { delivery }, Html { delivery })?;
    let mut images = Vec::with_capacity(delivery.tickets.len());
    // Reissued tickets make another Message-ID; a mail that is sent twice has the same one.
    let mut contents = Sha256::new();
    for Delivered { ticket_id, qr_code, .. } in &delivery.tickets {
        contents.update(qr_code);
        let png = qr_code
            .strip_prefix("data:image/png;base64,")
            .and_then(|data| BASE64.decode(data).ok());
        if let Some(png) = png {
            images.push((format!("{ticket_id}.png"), png));
        }
    }
    let contents = BASE64_URL.encode(&contents.finalize()[..9]);
    Ok(Email {
        to,
        to_name: delivery.name.clone(),
        subject: format!("Your tickets for {}", text::without_links(&delivery.event_name)),
        text,
        html,
        message_id: format!("tickets-{}-{contents}", delivery.reference.to_lowercase()),
        images,
    })
}
