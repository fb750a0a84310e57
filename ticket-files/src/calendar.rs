//! The entry of an event for a calendar, `text/calendar` (RFC 5545).

use std::iter;

use chrono::{DateTime, TimeZone, Utc};

use crate::Event;

/// The type of the file.
pub const TYPE: &str = "text/calendar; charset=utf-8";

/// Octets of a line, without its end.
const LINE: usize = 75;

/// A file with the event of a booking. `seats` are those of the booking, in words, and `stamp` is when
/// the event was last changed. A calendar that has the entry already, by the booking's reference,
/// replaces it.
pub fn calendar(event: &Event, seats: &str, reference: &str, stamp: DateTime<Utc>) -> String {
    let venue = event.venue.as_deref().filter(|venue| *venue != event.location);
    let place: Vec<&str> = venue.into_iter().chain([event.location.as_str()]).collect();
    let about = [event.when.clone(), format!("Booking: {reference}"), format!("Seats: {seats}")];
    let lines = [
        "BEGIN:VCALENDAR".to_owned(),
        "VERSION:2.0".to_owned(),
        "PRODID:-//Nexus//Tickets//EN".to_owned(),
        "METHOD:PUBLISH".to_owned(),
        "BEGIN:VEVENT".to_owned(),
        format!("UID:{}@nexus", escaped(reference)),
        format!("DTSTAMP:{}", utc(stamp)),
        // Of two files, the later one counts. In minutes, it is less than 2^31 for long enough.
        format!("SEQUENCE:{}", (stamp.timestamp() / 60).max(0)),
        format!("DTSTART:{}", utc(event.starts)),
        format!("DTEND:{}", utc(event.ends)),
        format!("SUMMARY:{}", escaped(&event.name)),
        format!("LOCATION:{}", escaped(&place.join(", "))),
        format!("DESCRIPTION:{}", escaped(&about.join("\n"))),
        "STATUS:CONFIRMED".to_owned(),
        "END:VEVENT".to_owned(),
        "END:VCALENDAR".to_owned(),
    ];
    lines.iter().map(|line| folded(line)).collect()
}

fn utc(time: DateTime<impl TimeZone>) -> String {
    time.to_utc().format("%Y%m%dT%H%M%SZ").to_string()
}

/// A text as a value. Control characters, which no value may have, are left out, and whatever some
/// program takes for the end of a line is one that is escaped.
fn escaped(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    for c in text.replace("\r\n", "\n").chars() {
        match c {
            '\\' | ';' | ',' => value.extend(['\\', c]),
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                value.push_str("\\n");
            }
            c if c.is_control() && c != '\t' => {}
            c => value.push(c),
        }
    }
    value
}

/// A line with its end: one that is too long goes on in further lines that begin with a space.
fn folded(line: &str) -> String {
    let mut rest = line;
    let mut room = LINE;
    let parts = iter::from_fn(|| {
        let (part, after) = rest.split_at_checked(rest.floor_char_boundary(room))?;
        rest = after;
        room = LINE - 1;
        (!part.is_empty()).then_some(part)
    });
    parts.collect::<Vec<_>>().join("\r\n ") + "\r\n"
}
