//! Handlers of the notifications queue. They run at least once: see
//! [`nexus_common::jobs::notifications`].

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64_URL};
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
    tickets::{
        delivery::{self, Delivery, Portion},
        files::Files,
    },
    types::{
        file::File,
        ids::{BookingId, UserId},
        text,
        time_zone::TimeZone,
    },
};
use nexus_ticket_files::plain;
use sha2::{Digest, Sha256};
use sqlx::PgPool;

use super::{
    messages::{Beyond, MessageBudgets},
    needed, words_of,
};
use crate::{
    Attempt, Build, Context, JobFailure,
    letters::{Letter, Templates, TicketWords, Written},
};

/// What these handlers need besides the common context.
pub struct Notifications {
    pub(super) smtp: Option<Smtp>,
    pub(super) twilio: Option<Twilio>,
    /// PUBLIC_URL: where clients reach the API, without a slash at its end.
    pub(super) public_url: Option<String>,
    pub(super) templates: Arc<Templates>,
    files: Arc<Files>,
    /// Of what is about no event.
    pub(super) time_zone: TimeZone,
    /// Reads what is to be delivered of many bookings; see [`Notifications::delivery`].
    deliveries: OnceLock<Groups<Portion, Option<Delivery>>>,
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
        let time_zone = config::time_zone(env);
        let ticket_files = config::TicketFiles::from_env(env);
        let templates = Templates::new(ticket_files.templates.as_deref());
        let templates = templates.unwrap_or_else(|problem| {
            env.problem(format!("TEMPLATES_DIR: {problem}"));
            Templates::default()
        });
        let (templates, files) = (Arc::new(templates), Arc::new(Files::new(ticket_files)));
        let rates = RateLimits::from_env(env);
        if smtp.is_none() && twilio.is_none() {
            env.problem("SMTP_URL is missing, and so are TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN and TWILIO_VERIFY_SID: nothing can be sent");
        }
        Box::new(move || {
            let smtp = smtp.as_ref().map(Smtp::new).transpose()?;
            let twilio = twilio.as_ref().map(Twilio::new).transpose()?;
            let (deliveries, budgets) = (OnceLock::new(), OnceLock::new());
            Ok(Notifications {
                smtp,
                twilio,
                public_url,
                templates,
                files,
                time_zone,
                deliveries,
                rates,
                budgets,
            })
        })
    }

    /// The keys that these handlers need.
    pub fn keys(&self) -> Vec<Key> {
        let smtp = self.smtp.as_ref().map(Smtp::key);
        smtp.into_iter().chain(self.twilio.as_ref().map(Twilio::key)).cloned().collect()
    }

    /// Sends a mail about a booking, if it still exists, to a user, within the limits of messages.
    /// The booking shows whether it was refused.
    pub(super) async fn mail(
        cx: &Context<Self>,
        user: UserId,
        booking: Option<BookingId>,
        mail: Email,
        beyond: Beyond,
    ) -> Result<(), JobFailure> {
        let sent = Self::budgets(cx).mail(needed(&cx.smtp)?, user, mail, beyond).await;
        if let (Some(booking), Ok(true) | Err(JobFailure::Refused(_))) = (booking, &sent) {
            let marked = async {
                let mut conn = cx.db.acquire().await?;
                delivery::mark_mail(&mut conn, booking, sent.is_err()).await
            };
            match marked.await {
                // It is offered again, so that the refusal is shown; nobody gets it twice.
                Err(error) if sent.is_err() => return Err(error.into()),
                // It was sent all the same.
                Err(error) => tracing::warn!(
                    error = error.details(),
                    "a booking still shows that its mail was refused"
                ),
                Ok(()) => {}
            }
        }
        sent.map(drop)
    }

    /// Sends a mail with an offer to somebody whose address a user has named, within the limits.
    pub(super) async fn offer(cx: &Context<Self>, mail: Email) -> Result<(), JobFailure> {
        Self::budgets(cx).offer(needed(&cx.smtp)?, mail).await
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

    /// Those files of a booking's tickets that say when and where its event is; none if there are no
    /// tickets yet.
    pub(super) async fn changed_files(
        cx: &Context<Self>,
        portion: Portion,
    ) -> Result<Vec<File>, Error> {
        let Some(delivery) = Self::delivery(cx, portion).await? else { return Ok(vec![]) };
        let files = cx.files.clone();
        let make = move || {
            let mut made: Vec<File> = if_possible(files.pdf(&delivery)).into_iter().collect();
            made.extend(if_possible(files.passes(&delivery)));
            made.push(files.calendar(&delivery));
            made
        };
        tokio::task::spawn_blocking(make).await.map_err(Error::internal)
    }

    /// What is to be delivered of a booking, read together with that of others; `None` if nothing.
    async fn delivery(cx: &Context<Self>, portion: Portion) -> Result<Option<Delivery>, Error> {
        let deliveries = cx.deliveries.get_or_init(|| {
            let db = cx.db.clone();
            Groups::new(move |portions| deliveries(db.clone(), portions))
        });
        deliveries.call(portion).await
    }
}

async fn deliveries(
    db: PgPool,
    portions: Vec<Portion>,
) -> Result<Vec<Result<Option<Delivery>, Error>>, Error> {
    let found = delivery::deliveries(&mut *db.acquire().await?, &portions).await?;
    Ok(portions.iter().map(|portion| Ok(found.get(portion).cloned())).collect())
}

/// The booking that shows whether a mail was refused: to its buyer, if the mail was theirs.
pub(super) fn shown_with((booking, to): Portion) -> Option<BookingId> {
    to.is_none().then_some(booking)
}

/// See [`EmailTickets`].
pub async fn email_tickets(
    cx: Arc<Context<Notifications>>,
    job: EmailTickets,
    attempt: Attempt,
) -> Result<(), JobFailure> {
    let portion = (job.booking_id, job.to);
    let Some(delivery) = Notifications::delivery(&cx, portion).await? else { return Ok(()) };
    let Some(to) = delivery.email.clone().filter(|_| !delivery.email_sent) else { return Ok(()) };
    // Before there is any work for nothing.
    needed(&cx.smtp)?;
    let (files, templates) = (cx.files.clone(), cx.templates.clone());
    let letter = delivery.clone();
    let compose = move || compose(&letter, to, &files, &templates);
    let mail = tokio::task::spawn_blocking(compose).await.map_err(Error::internal)??;
    let Some(mail) = mail else { return Ok(()) };
    Notifications::mail(&cx, delivery.user, shown_with(portion), mail, Beyond::Waits).await?;
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
    let portion = (job.booking_id, job.to);
    let Some(delivery) = Notifications::delivery(&cx, portion).await? else { return Ok(()) };
    let Some(phone) = delivery.phone.as_deref().filter(|_| !delivery.sms_sent) else {
        return Ok(());
    };
    let seats: Vec<&str> =
        delivery.tickets.iter().map(|ticket| ticket.seat_label.as_str()).collect();
    let event: String = text::without_links(&delivery.event.name).chars().take(100).collect();
    let occasion = &delivery.event.occasion;
    let message = format!(
        "Your tickets for {event}, {}, are ready. Booking {}, seat(s) {}.",
        occasion.time_zone.short_moment(occasion.start_date),
        delivery.reference,
        seats.join(", ")
    );
    let message: String = message.chars().take(1600).collect();
    Notifications::sms(&cx, delivery.user, phone, &message).await?;
    let mut tx = cx.db.begin().await?;
    delivery::mark_texted(&mut tx, &delivery.tickets).await?;
    attempt.lease.complete(&mut tx).await?;
    tx.commit().await?;
    Ok(())
}

/// A file of tickets; a mail goes without one that cannot be made.
fn if_possible<T: Default>(made: Result<T, Error>) -> T {
    made.unwrap_or_else(|error| {
        tracing::error!(error = error.details(), "a file of tickets cannot be made");
        T::default()
    })
}

/// The mail with a booking's tickets. `None` while one of them has no code: whoever issues it anew
/// has it mailed. Occupies a core for a while: do not call it on an async thread.
fn compose(
    delivery: &Delivery,
    to: String,
    files: &Files,
    templates: &Templates,
) -> Result<Option<Email>, Error> {
    // Reissued tickets make another Message-ID; a mail that is sent twice has the same one.
    let mut contents = Sha256::new();
    let (mut words, mut inline, mut attachments) = (vec![], vec![], vec![]);
    attachments.extend(if_possible(files.pdf(delivery)));
    for ticket in &delivery.tickets {
        let Some(png) = ticket.png()? else { return Ok(None) };
        contents.update(&png);
        let picture = format!("code-{}", ticket.id);
        words.push(TicketWords {
            number: &ticket.ticket_id,
            seat: &ticket.seat_label,
            seat_type: &ticket.seat_type_name,
            price: ticket.price.written(),
            holder: ticket.holder.as_deref(),
            google: if_possible(files.google_link(delivery, ticket)),
            picture: picture.clone(),
        });
        let file = |name, content| File { name, media_type: "image/png", content };
        inline.push(file(picture, png.clone()));
        attachments.push(file(format!("{}.png", plain(&ticket.ticket_id)), png));
    }
    let passes = if_possible(files.passes(delivery));
    let has_passes = !passes.is_empty();
    attachments.extend(passes);
    attachments.push(files.calendar(delivery));
    let written = templates.write(&Letter::Tickets {
        name: delivery.name.as_deref(),
        is_own: delivery.is_buyer,
        reference: &delivery.reference,
        event: words_of(&delivery.event.name, &delivery.event.occasion),
        tickets: words,
        has_passes,
    })?;
    let contents = BASE64_URL.encode(&contents.finalize()[..9]);
    let message_id = format!("tickets-{}-{contents}", delivery.reference.to_lowercase());
    let (to_name, Written { subject, text, html }) = (delivery.name.clone(), written);
    Ok(Some(Email { to, to_name, subject, text, html, message_id, inline, attachments }))
}
