//! What a buyer takes home, read again by other code than that which made it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

mod apple;
mod calendar;
mod google;

use chrono::{DateTime, TimeZone, Utc};
use chrono_tz::Asia::Kolkata;
use nexus_ticket_files::{Event, Ticket};

fn event() -> Event {
    Event {
        id: 7,
        name: "Monsoon Nights; a \"raga\" evening, मानसून".to_owned(),
        venue: Some("Rang Mandir".to_owned()),
        location: "12 MG Road, Bengaluru".to_owned(),
        starts: Kolkata.with_ymd_and_hms(2031, 5, 1, 18, 0, 0).unwrap(),
        ends: Kolkata.with_ymd_and_hms(2031, 5, 1, 22, 30, 0).unwrap(),
        when: "Thursday, 1 May 2031, 18:00 IST (Asia/Kolkata)".to_owned(),
        organizer: Some("Nexus Live".to_owned()),
    }
}

fn ticket(seat: &str) -> Ticket {
    Ticket {
        number: format!("TKT-BKG-2031-0401-101500-7F3A-{seat}"),
        reference: "BKG-2031-0401-101500-7F3A".to_owned(),
        seat: seat.to_owned(),
        seat_type: "VIP".to_owned(),
        price: "₹1,500.00".to_owned(),
        holder: Some("Asha Rao".to_owned()),
        // As long as one that is signed.
        code: format!("NX1-{:A<135}", seat),
    }
}

fn now() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2031, 4, 1, 12, 0, 0).unwrap()
}

fn fixture(name: &str) -> String {
    let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}
