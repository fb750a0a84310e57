//! Handlers of the notifications queue about tickets that are given to others. Like all handlers of
//! that queue, they run at least once.

use std::sync::Arc;

use nexus_common::{
    Error,
    jobs::notifications::{EmailOffer, EmailTransferred},
    tickets::transfers::{self, Story},
    types::ids::TransferId,
};

use super::{mail, messages::Beyond, notifications::Notifications, words_of};
use crate::{
    Attempt, Context, JobFailure,
    letters::{Letter, Templates, Written},
};

/// See [`EmailOffer`].
pub async fn email_offer(
    cx: Arc<Context<Notifications>>,
    job: EmailOffer,
    _attempt: Attempt,
) -> Result<(), JobFailure> {
    let id = job.transfer_id;
    let story = transfers::story(&mut *cx.db.acquire().await?, id).await?;
    let Some(story) = story.filter(|story| story.is_open) else { return Ok(()) };
    let Some(to) = story.to_email.clone() else { return Ok(()) };
    let email = mail(to, None, write(&story, true, &cx.templates)?, message_id("offer", id));
    Notifications::offer(&cx, email).await
}

/// See [`EmailTransferred`].
pub async fn email_transferred(
    cx: Arc<Context<Notifications>>,
    job: EmailTransferred,
    _attempt: Attempt,
) -> Result<(), JobFailure> {
    let id = job.transfer_id;
    let story = transfers::story(&mut *cx.db.acquire().await?, id).await?;
    let Some(story) = story else { return Ok(()) };
    let Some(to) = story.from_email.clone() else { return Ok(()) };
    let written = write(&story, false, &cx.templates)?;
    let email = mail(to, story.from_name.clone(), written, message_id("transferred", id));
    Notifications::mail(&cx, story.from, None, email, Beyond::Waits).await
}

fn message_id(what: &str, id: TransferId) -> String {
    format!("{what}-{id}")
}

fn write(story: &Story, is_offer: bool, templates: &Templates) -> Result<Written, Error> {
    let event = words_of(&story.event_name, &story.occasion);
    let (seat, seat_type) = (story.seat_label.as_str(), story.seat_type_name.as_str());
    let from_name = story.from_name.as_deref();
    templates.write(&match is_offer {
        true => Letter::Offer { from_name, event, seat, seat_type },
        false => Letter::Transferred {
            name: from_name,
            to_name: story.to_name.as_deref(),
            reference: &story.reference,
            event,
            seat,
            seat_type,
            number: &story.ticket_id,
        },
    })
}
