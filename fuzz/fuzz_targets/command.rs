//! Socket.IO commands: from the packet, through the library's parser, to each command's input. The
//! same readers serve REST bodies.

#![no_main]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a property that does not hold is found by panicking"
)]

use libfuzzer_sys::fuzz_target;
use nexus_api::fuzzing::{self, Arguments};
use nexus_common::{
    events::{changes::NewEvent, seat_types::NewSeatType},
    types::{money::Paise, seats::SeatLabel, time::Timestamp},
};
use serde_json::{Value, json};
use socketioxide_core::{
    packet::PacketData,
    parser::{Parse, ParseConfig, ParserState},
};
use socketioxide_parser_common::CommonParser;

fuzz_target!(|packet: &str| {
    if let Some(payload) = decode(packet) {
        read(payload);
    }
});

/// What the API's queue takes out of an event's packet.
fn decode(packet: &str) -> Option<Value> {
    let config = ParseConfig::default();
    let packet =
        CommonParser.decode_str(&config, &ParserState::default(), packet.to_owned().into()).ok()?;
    let PacketData::Event(mut message, _) = packet.inner else { return None };
    let name = CommonParser.read_event(&message).ok()?.to_owned();
    let whole = message.as_str().and_then(|text| serde_json::from_str::<Vec<Value>>(text).ok());
    let arguments = CommonParser.decode_value::<Arguments>(&mut message, true).ok();
    if let Some(whole) = whole {
        assert_eq!(whole[0], name.as_str());
        let arguments = arguments.as_ref().expect("well-formed arguments are read");
        assert_eq!(arguments.0.as_ref(), whole.get(1), "the first argument is the one that counts");
    }
    arguments?.0
}

fn read(payload: Value) {
    if let Ok(new) = fuzzing::new_event(payload.clone()) {
        event(&new);
    }
    if let Ok(changes) = fuzzing::event_changes(payload.clone()) {
        [changes.start_date, changes.end_date]
            .into_iter()
            .flatten()
            .for_each(|time| timestamp(&time));
        assert!(changes.max_tickets_per_user.is_none_or(|most| (1..=10_000).contains(&most)));
        assert!(changes.name.is_none_or(|name| (1..=255).contains(&name.chars().count())));
    }
    if let Ok(new) = fuzzing::new_seat_type(payload.clone()) {
        seat_type(&new);
    }
    if let Ok(changes) = fuzzing::seat_type_changes(payload.clone()) {
        assert!(changes.price.is_none_or(|price| (Paise::ZERO..=Paise::MAX).contains(&price)));
        assert!(changes.quantity.is_none_or(|quantity| quantity >= 0));
    }
    if let Ok(new) = fuzzing::new_booking(payload.clone()) {
        assert_ne!(new.event.0, 0);
        assert!(!new.seats.is_empty());
        new.seats.iter().for_each(|(_, seat)| label(seat));
    }
    let _ = fuzzing::selection(payload.clone());
    let _ = fuzzing::login(payload.clone());
    if let Ok(new) = fuzzing::registration(payload) {
        [new.name, new.address, new.city].into_iter().flatten().for_each(|text| line(&text));
    }
}

fn event(new: &NewEvent) {
    assert!((1..=255).contains(&new.name.chars().count()));
    assert!((1..=20_000).contains(&new.description.chars().count()));
    line(&new.name);
    assert!(!new.description.contains('\0'), "PostgreSQL stores no NUL");
    assert!(new.start_date <= new.end_date);
    assert!((1..=10_000).contains(&new.max_tickets_per_user));
    assert!((1..=100).contains(&new.seat_types.len()));
    [new.start_date, new.end_date].iter().for_each(timestamp);
    new.seat_types.iter().for_each(seat_type);
}

fn seat_type(new: &NewSeatType) {
    assert!((1..=100).contains(&new.name.chars().count()));
    assert!((Paise::ZERO..=Paise::MAX).contains(&new.price));
    assert!(new.quantity >= 0);
    let shown: f64 = json!(new.price).as_f64().unwrap();
    assert_eq!(Paise::from_rupees(shown), Some(new.price), "an amount survives the wire");
}

/// A point in time looks as the contract says, and means the same when it comes back.
fn timestamp(time: &Timestamp) {
    let shown = json!(time);
    let shown = shown.as_str().unwrap();
    assert_eq!(shown.len(), "2031-05-01T18:00:00.000Z".len(), "{shown}");
    let again = Timestamp::parse(shown).unwrap();
    assert_eq!(again.0.timestamp_millis(), time.0.timestamp_millis());
}

fn label(label: &SeatLabel) {
    assert_eq!(SeatLabel::parse(label.as_str()).as_ref().ok(), Some(label));
}

fn line(text: &str) {
    assert!(!text.chars().any(char::is_control), "{text:?} has one line");
}
