//! The files that a buyer gets of a booking's tickets: as PDF, as passes of wallets, and an entry for
//! the calendar. What is in them and how they look is [`nexus_ticket_files`]'s.

use chrono::Utc;
use nexus_ticket_files::{Event, Ticket, apple, calendar, pdf, plain};

use super::delivery::{Delivered, Delivery};
use crate::{
    config,
    error::{Error, Result},
    types::file::File,
};

/// Makes files of tickets.
#[derive(Clone, Debug)]
pub struct Files {
    settings: config::TicketFiles,
}

impl Files {
    /// With what [`config::TicketFiles`] says.
    pub fn new(settings: config::TicketFiles) -> Self {
        Files { settings }
    }

    /// The tickets as a PDF, one page each; `None` if one of them has no code, because it is from
    /// before codes were stored or is about to be issued anew. Occupies a core for a while: do not
    /// call it on an async thread.
    pub fn pdf(&self, delivery: &Delivery) -> Result<Option<File>> {
        let Some(tickets) = tickets(delivery) else { return Ok(None) };
        let content = pdf::pdf(&event(delivery), &tickets, &self.settings.terms);
        Ok(Some(File {
            name: format!("tickets-{}.pdf", plain(&delivery.reference)),
            media_type: "application/pdf",
            content: content.map_err(Error::internal)?,
        }))
    }

    /// The event's entry for a calendar.
    pub fn calendar(&self, delivery: &Delivery) -> File {
        let seats = delivery
            .tickets
            .iter()
            .map(|ticket| format!("{} ({})", ticket.seat_label, ticket.seat_type_name));
        let changed = delivery.event.updated_at.0;
        let seats = seats.collect::<Vec<_>>().join(", ");
        let entry = calendar::calendar(&event(delivery), &seats, &delivery.reference, changed);
        File {
            name: format!("{}.ics", plain(&delivery.reference)),
            media_type: calendar::TYPE,
            content: entry.into_bytes(),
        }
    }

    /// What signs passes for Apple Wallet, while it may.
    fn signer(&self) -> Option<&apple::Signer> {
        self.settings.apple.as_deref().filter(|signer| signer.expires() > Utc::now())
    }

    /// Whether there are passes for Apple Wallet.
    pub fn has_passes(&self) -> bool {
        self.signer().is_some()
    }

    /// Passes for Apple Wallet: a file of one, or files of up to ten, which are as many as Wallet
    /// takes at once; none where the installation has no certificate that is still good. Occupies
    /// a core for a while: do not call it on an async thread.
    pub fn passes(&self, delivery: &Delivery) -> Result<Vec<File>> {
        let Some(signer) = self.signer() else { return Ok(vec![]) };
        let (event, terms, now) = (event(delivery), &self.settings.terms, Utc::now());
        let Some(tickets) = tickets(delivery) else { return Ok(vec![]) };
        let portions = tickets.chunks(apple::MOST).enumerate();
        let file = |(number, portion): (usize, &[Ticket])| {
            let reference = plain(&delivery.reference);
            let (ending, media_type, content) = match portion {
                [one] => ("pkpass", apple::PASS, signer.pass(&event, one, terms, now)),
                many => ("pkpasses", apple::PASSES, signer.passes(&event, many, terms, now)),
            };
            let name = match tickets.len() > apple::MOST {
                true => format!("{reference}-{}.{ending}", number + 1),
                false => format!("{reference}.{ending}"),
            };
            Ok(File { name, media_type, content: content.map_err(Error::internal)? })
        };
        portions.map(file).collect()
    }

    /// Whether there are links to Google Wallet.
    pub fn has_links(&self) -> bool {
        self.settings.google.is_some()
    }

    /// The link that puts a ticket into Google Wallet; `None` where the installation has no account
    /// there, or the ticket is from before codes were stored.
    pub fn google_link(&self, delivery: &Delivery, one: &Delivered) -> Result<Option<String>> {
        let Some(issuer) = &self.settings.google else { return Ok(None) };
        let Some(ticket) = ticket(delivery, one) else { return Ok(None) };
        let link = issuer.link(&event(delivery), &ticket, Utc::now());
        link.map(Some).map_err(Error::internal)
    }
}

fn event(delivery: &Delivery) -> Event {
    let (event, occasion) = (&delivery.event, &delivery.event.occasion);
    Event {
        id: event.id.0,
        name: event.name.clone(),
        venue: occasion.venue_name.clone(),
        location: occasion.location.clone(),
        starts: occasion.time_zone.at(occasion.start_date),
        ends: occasion.time_zone.at(event.end_date),
        when: occasion.when(),
        organizer: event.organizer.clone(),
    }
}

/// All of them; `None` if there are none, or one has no code.
fn tickets(delivery: &Delivery) -> Option<Vec<Ticket>> {
    let tickets: Option<Vec<_>> =
        delivery.tickets.iter().map(|one| ticket(delivery, one)).collect();
    tickets.filter(|tickets| !tickets.is_empty())
}

fn ticket(delivery: &Delivery, one: &Delivered) -> Option<Ticket> {
    Some(Ticket {
        number: one.ticket_id.clone(),
        reference: delivery.reference.clone(),
        seat: one.seat_label.clone(),
        seat_type: one.seat_type_name.clone(),
        price: one.price.written(),
        holder: one.holder.clone().or_else(|| delivery.name.clone()),
        code: one.code.as_ref()?.text(),
    })
}
