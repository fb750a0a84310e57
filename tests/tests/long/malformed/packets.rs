//! Packets that no good client sends, as text, over either transport. `\x1e` is between those that
//! come one after the other; one that begins with `b` is binary.

use std::fmt::Write;

use nexus_tests::seeded_rng::SeededRng;

/// What is expected to be something else: a number, an id, a label, a token.
const VALUES: [&str; 18] = [
    "null",
    "true",
    "-0",
    "1e308",
    "1e999999",
    "123456789012345678901234567890123456789",
    r#""""#,
    r#""\u0000""#,
    r#""\ud800""#,
    r#""\udc00\ud800""#,
    "\"\u{202e}é🎟\"",
    "[]",
    "{}",
    r#"{"a":1,"a":2}"#,
    r#"{"\"":0}"#,
    r#"{"__proto__":{"length":1}}"#,
    r#"{"_placeholder":true,"num":0}"#,
    r#"{"num":-1,"_placeholder":"x"}"#,
];
const FIELDS: [&str; 10] = [
    "eventId",
    "seatTypeId",
    "seat_label",
    "seat_labels",
    "seat_details",
    "event_id",
    "booking_id",
    "name",
    "start_date",
    "traceparent",
];
/// Commands, and events that are the library's own in some library.
const EVENTS: [&str; 22] = [
    "create_event",
    "update_event",
    "delete_event",
    "create_seat_type",
    "update_seat_type",
    "delete_seat_type",
    "lock_seat",
    "lock_seats",
    "extend_lock",
    "unlock_seat",
    "create_booking",
    "confirm_booking",
    "cancel_booking",
    "join_event",
    "leave_event",
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "error",
    "__proto__",
    "",
];
const AUTHS: [&str; 10] = [
    "7",
    "null",
    "[1,2]",
    "{}{}",
    "nonsense",
    r#"{"token":"#,
    r#"{"token":7}"#,
    r#"{"token":{"token":"x"}}"#,
    r#"{"token":"a.b.c"}"#,
    r#"{"token":"\ud800"}"#,
];

type Make = fn(&mut SeededRng) -> String;

/// Nonsense that a session may survive.
const BEARABLE: [Make; 14] = [
    // A pong without a ping, and a ping, which is for servers to send.
    |_| "3".to_owned(),
    |_| "3\u{0}é".to_owned(),
    |_| "2".to_owned(),
    // Connects again, and to what there is not.
    |rng| format!("40{}", pick(rng, &AUTHS)),
    |rng| format!("40/{},", "x".repeat(rng.below(3_000) as usize)),
    |rng| format!("40{},{}", "/a".repeat(1 + rng.below(99) as usize), pick(rng, &AUTHS)),
    |_| "41/nowhere,\x1e42/nowhere,[\"x\"]\x1e42/é".to_owned(),
    // Answers what nobody has asked.
    |rng| format!("43{}[{}]", rng.below(1 << 63), value(rng)),
    // Attachments that nothing refers to, and placeholders of none.
    |_| "451-[\"x\",{\"_placeholder\":true,\"num\":9}]\x1ebAAAA".to_owned(),
    |_| "450-[\"x\",{\"_placeholder\":true,\"num\":0}]".to_owned(),
    |_| "452-7[\"lock_seat\",{\"_placeholder\":true,\"num\":-1}]\x1ebAAAA\x1eb".to_owned(),
    command,
    command,
    command,
];

/// Nonsense that ends the session, or the part of it that it came in.
const FATAL: [&str; 46] = [
    // Packets of Engine.IO that there are not, or that are not for clients to send.
    "",
    "0{}",
    "1",
    "5",
    "6",
    "7",
    "9",
    "x",
    "é",
    "2probe",
    "3probe",
    // Packets of Socket.IO that there are not, or that end too early.
    "4",
    "4é",
    "4\u{0}",
    "44{\"message\":\"x\"}",
    "47",
    "49[\"x\"]",
    "42",
    "42[",
    "42{}",
    "42null",
    "42\"x\"",
    "42[]",
    "42[7]",
    "42[[\"x\"]]",
    "42[\"\\u0061\"]",
    "42[\"x\",",
    "42[\"x\",tru]",
    "42[\"x\"]]",
    "43[]",
    "4399999999999999999999[]",
    // Attachments: too many, no number, none where one is due.
    "45",
    "45[\"x\"]",
    "45-[\"x\"]",
    "451",
    "46[\"x\"]",
    "461-[\"x\"]",
    "4599999999-[\"x\"]",
    "4599999999999999999999999999-[\"x\"]",
    "451-[\"x\",{\"_placeholder\":true,\"num\":0}]",
    "451-[\"x\",{\"_placeholder\":true,\"num\":0}]\x1e451-[\"x\"]\x1ebAAAA",
    "bAAAA",
    // Disconnects, once or twice, and goes on as if it had not, or connects anew.
    "41\x1e42[\"x\"]",
    "41\x1e40",
    "41\x1e41\x1e40",
    "41\x1e41\x1e40\x1e42[\"join_event\",7]\x1e41\x1e41\x1e40",
];

pub(super) fn pick<T: Copy>(rng: &mut SeededRng, of: &[T]) -> T {
    of[rng.below(of.len() as u64) as usize]
}

/// A connection to the only namespace, with a good token or a bad one.
pub(super) fn connect(rng: &mut SeededRng, token: &str) -> String {
    match rng.below(4) {
        0 => format!("40{}", pick(rng, &AUTHS)),
        1 => "40".to_owned(),
        _ => format!(r#"40{{"token":"{token}"}}"#),
    }
}

pub(super) fn bearable(rng: &mut SeededRng) -> String {
    pick(rng, &BEARABLE)(rng)
}

/// With more after it: who sends nonsense does not stop when the session has ended.
pub(super) fn fatal(rng: &mut SeededRng) -> String {
    let first = match rng.below(3) {
        0 => {
            let packet = bearable(rng);
            mutated(rng, &packet)
        }
        _ => pick(rng, &FATAL).to_owned(),
    };
    (0..rng.below(4)).fold(first, |packets, _| packets + "\x1e" + &bearable(rng))
}

/// As many commands as one connection may send until it is disconnected (docs/limits.md), and then
/// it connects anew.
pub(super) fn flood(rng: &mut SeededRng) -> String {
    let packets: Vec<String> = (0..203).map(|_| command(rng)).collect();
    packets.join("\x1e") + "\x1e41\x1e40"
}

fn command(rng: &mut SeededRng) -> String {
    let ack = match rng.below(3) {
        0 => String::new(),
        1 => rng.below(100).to_string(),
        _ => rng.below(u64::MAX).to_string(),
    };
    let arguments = match rng.below(8) {
        0 => String::new(),
        1 => ",0".repeat(300),
        2 | 3 => format!(",{}", value(rng)),
        _ => format!(",{}", object(rng)),
    };
    format!("42{ack}[\"{}\"{arguments}]", pick(rng, &EVENTS))
}

fn object(rng: &mut SeededRng) -> String {
    let mut text = String::new();
    for _ in 0..1 + rng.below(5) {
        let _ = write!(text, ",\"{}\":{}", pick(rng, &FIELDS), value(rng));
    }
    format!("{{{}}}", &text[1..])
}

fn value(rng: &mut SeededRng) -> String {
    match rng.below(16) {
        0 => nested(rng),
        1 => format!("\"{}\"", "A".repeat(rng.below(3_000) as usize)),
        _ => pick(rng, &VALUES).to_owned(),
    }
}

fn nested(rng: &mut SeededRng) -> String {
    let (depth, (open, close)) =
        (rng.below(5_000) as usize, pick(rng, &[("[", "]"), ("{\"a\":", "}")]));
    format!("{}0{}", open.repeat(depth), close.repeat(depth))
}

/// Cut off, or with a character less, another one or a part twice.
fn mutated(rng: &mut SeededRng, packet: &str) -> String {
    let mut characters: Vec<char> = packet.chars().collect();
    let at = rng.below(characters.len() as u64) as usize;
    match rng.below(4) {
        0 => characters.truncate(at),
        1 => drop(characters.remove(at)),
        2 => characters[at] = pick(rng, &['"', '\\', '[', '}', ',', '-', '/', '9', '\0', 'é']),
        _ => characters.extend_from_within(at..),
    }
    characters.into_iter().collect()
}
