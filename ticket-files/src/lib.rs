//! What a buyer takes home: tickets as a PDF, as passes of wallets, and an entry for the calendar.
//! Everything here is made of what the caller hands over; nothing is looked up, and nothing is sent.

pub mod apple;
pub mod calendar;
pub mod google;
pub mod pdf;
pub mod qr;
pub mod rsa;

use chrono::{DateTime, SecondsFormat};
use chrono_tz::Tz;

/// An event, as the files of its tickets show it. People have written its texts, in any script.
#[derive(Clone, Debug)]
pub struct Event {
    pub id: i32,
    pub name: String,
    pub venue: Option<String>,
    pub location: String,
    /// In the event's time zone.
    pub starts: DateTime<Tz>,
    pub ends: DateTime<Tz>,
    /// The start in words, with its zone: `Thursday, 1 May 2031, 18:00 IST (Asia/Kolkata)`.
    pub when: String,
    pub organizer: Option<String>,
}

/// A ticket of an event, as its files show it.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// What people call it: `TKT-BKG-…-A1`.
    pub number: String,
    /// The booking's reference, `BKG-…`.
    pub reference: String,
    pub seat: String,
    pub seat_type: String,
    /// With its currency, `₹1,500.00`.
    pub price: String,
    /// Who goes.
    pub holder: Option<String>,
    /// The text of its QR code.
    pub code: String,
}

/// A text as it may be in the name of a file and in an identifier.
pub fn plain(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    text.chars().map(|c| if is_plain(c) { c } else { '-' }).collect()
}

/// RFC 3339, with the offset of the event's time zone.
fn local(time: DateTime<Tz>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, false)
}
