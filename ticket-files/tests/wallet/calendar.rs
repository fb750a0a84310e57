use nexus_ticket_files::calendar::calendar;
use proptest::prelude::*;

use crate::{event, now};

/// The properties of a file, in order: as a reader finds them who knows lines, folds and escapes.
fn properties(file: &str) -> Vec<(String, String)> {
    let lines = file.strip_suffix("\r\n").unwrap();
    for line in lines.split("\r\n") {
        assert!(line.len() <= 75, "{line}");
        assert!(!line.contains(|c: char| c.is_control() && c != '\t'), "{line:?}");
    }
    let unfolded = lines.replace("\r\n ", "");
    let pairs = unfolded.split("\r\n").map(|line| line.split_once(':').unwrap());
    pairs.map(|(name, value)| (name.to_owned(), unescaped(value))).collect()
}

fn unescaped(value: &str) -> String {
    let mut text = String::new();
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        text.push(match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some(c @ ('\\' | ';' | ',')) => c,
                other => panic!("\\{other:?}"),
            },
            ';' | ',' => panic!("{c} is not escaped"),
            c => c,
        });
    }
    text
}

/// What is left of a text: its lines, without control characters.
fn plain(text: &str) -> String {
    const LINES: [char; 6] = ['\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'];
    let text = text.replace("\r\n", "\n").replace(LINES, "\n");
    text.replace(|c: char| c.is_control() && c != '\n' && c != '\t', "")
}

#[test]
fn an_entry_says_what_the_tickets_do() {
    let file = calendar(&event(), "A1 (VIP), A2 (VIP)", "BKG-2031-0401-101500-7F3A", now());
    assert_eq!(
        file,
        "BEGIN:VCALENDAR\r\n\
         VERSION:2.0\r\n\
         PRODID:-//Nexus//Tickets//EN\r\n\
         METHOD:PUBLISH\r\n\
         BEGIN:VEVENT\r\n\
         UID:BKG-2031-0401-101500-7F3A@nexus\r\n\
         DTSTAMP:20310401T120000Z\r\n\
         SEQUENCE:32213520\r\n\
         DTSTART:20310501T123000Z\r\n\
         DTEND:20310501T170000Z\r\n\
         SUMMARY:Monsoon Nights\\; a \"raga\" evening\\, मानसून\r\n\
         LOCATION:Rang Mandir\\, 12 MG Road\\, Bengaluru\r\n\
         DESCRIPTION:Thursday\\, 1 May 2031\\, 18:00 IST (Asia/Kolkata)\\nBooking: BKG-\r\n \
         2031-0401-101500-7F3A\\nSeats: A1 (VIP)\\, A2 (VIP)\r\n\
         STATUS:CONFIRMED\r\n\
         END:VEVENT\r\n\
         END:VCALENDAR\r\n",
    );
}

/// Any text, and those that would break out.
fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        any::<String>(),
        "\\PC{0,90}",
        prop::sample::select(vec![
            "\r\nEND:VEVENT\r\n",
            "\n",
            "\r",
            "\\n",
            "\\",
            ";",
            ",",
            "\u{85}",
            "\u{2028}",
            "\t",
            "\0",
            " ",
            "क्षत्रिय",
            "👩‍👩‍👧",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn no_text_breaks_out(
        name in text(), venue in proptest::option::of(text()), location in text(),
        when in text(), seats in text(), reference in text(),
    ) {
        let mut event = event();
        (event.name, event.venue, event.location, event.when) = (name, venue, location, when);
        let file = calendar(&event, &seats, &reference, now());
        let properties = properties(&file);
        let names: Vec<_> = properties.iter().map(|(name, _)| name.as_str()).collect();
        prop_assert_eq!(names, [
            "BEGIN", "VERSION", "PRODID", "METHOD", "BEGIN", "UID", "DTSTAMP", "SEQUENCE",
            "DTSTART", "DTEND", "SUMMARY", "LOCATION", "DESCRIPTION", "STATUS", "END", "END",
        ]);
        prop_assert_eq!(&properties[5].1, &format!("{}@nexus", plain(&reference)));
        prop_assert_eq!(&properties[10].1, &plain(&event.name));
        let place = match &event.venue {
            Some(venue) if *venue != event.location => format!("{venue}, {}", event.location),
            _ => event.location.clone(),
        };
        prop_assert_eq!(&properties[11].1, &plain(&place));
        let about = format!("{}\nBooking: {reference}\nSeats: {seats}", event.when);
        prop_assert_eq!(&properties[12].1, &plain(&about));
        prop_assert_eq!(file.matches("\r\nEND:VEVENT\r\n").count(), 1);
    }
}
