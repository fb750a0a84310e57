//! Socket.IO commands: from the packet, through the library's parser, to what each command makes of
//! its payload. The same readers serve REST bodies.

#![no_main]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a property that does not hold is found by panicking"
)]

use libfuzzer_sys::fuzz_target;
use nexus_common::{
    accounts::credentials::{Login, Registration},
    bookings::creation::NewBooking,
    events::{
        input::{EventChanges, NewEvent},
        seat_types::{NewSeatType, SeatTypeChanges},
    },
    seats::selection::Selection,
    types::{
        ids::EventId,
        input::{Input, Page},
        money::Paise,
        seats::SeatLabel,
        time::Timestamp,
    },
};
use serde_json::{Value, json};
use socketioxide_core::{
    packet::PacketData,
    parser::{Parse, ParseConfig, ParserState},
};
use socketioxide_parser_common::CommonParser;

#[path = "../../api/src/socket/arguments.rs"]
mod arguments;
use arguments::Arguments;

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
    let input = Input::from(payload.clone());
    let again: Value =
        serde_json::from_str(&payload.to_string()).expect("what was read can be written");
    assert_eq!(Input::from(again).digest(), input.digest(), "an input is the same after a journey");
    no_nul(&input);
    ids(&input);

    if let Ok(new) = NewEvent::parse(&input) {
        event(&new);
    }
    if let Ok(changes) = EventChanges::parse(&input) {
        [changes.start_date, changes.end_date]
            .into_iter()
            .flatten()
            .for_each(|time| timestamp(&time));
        assert!(changes.max_tickets_per_user.is_none_or(|most| (1..=10_000).contains(&most)));
        assert!(changes.name.is_none_or(|name| (1..=255).contains(&name.chars().count())));
    }
    if let Ok(new) = NewSeatType::parse(&input) {
        seat_type(&new);
    }
    if let Ok(changes) = SeatTypeChanges::parse(&input) {
        assert!(changes.price.is_none_or(|price| (Paise::ZERO..=Paise::MAX).contains(&price)));
        assert!(changes.quantity.is_none_or(|quantity| quantity >= 0));
    }
    if let Ok(new) = NewBooking::parse(&input) {
        assert!(!new.seats.is_empty());
        new.seats.iter().for_each(|(_, seat)| label(seat));
    }
    if let Some(seat) = input.get("seat_label").and_then(|value| SeatLabel::from_value(value).ok())
    {
        label(&seat);
    }
    if let Ok(page) = Page::parse(&input) {
        assert!((1..=Page::LONGEST).contains(&page.limit) && page.offset >= 0);
        let _ = page.describe(i64::MAX);
    }
    let _ = Selection::parse(EventId(1), &input);
    let _ = Login::parse(&input);
    let _ = Registration::parse(&input);
}

fn event(new: &NewEvent) {
    assert!((1..=255).contains(&new.name.chars().count()));
    assert!((1..=20_000).contains(&new.description.chars().count()));
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

fn no_nul(input: &Input) {
    fn clean(value: &Value) -> bool {
        match value {
            Value::String(text) => !text.contains('\0'),
            Value::Array(items) => items.iter().all(clean),
            Value::Object(fields) => fields.values().all(clean),
            Value::Null | Value::Bool(_) | Value::Number(_) => true,
        }
    }
    for name in ["name", "seat_details", "eventId", "x"] {
        assert!(input.get(name).is_none_or(clean), "PostgreSQL stores no NUL");
    }
}

fn ids(input: &Input) {
    for name in ["event_id", "eventId", "seatTypeId", "booking_id"] {
        if let Some(EventId(id)) = input.id::<EventId>(name) {
            assert_ne!(id, 0);
            let mut again = Input::default();
            again.set(name, id);
            assert_eq!(
                again.id::<EventId>(name),
                Some(EventId(id)),
                "an id is its own normal form"
            );
        }
    }
}
