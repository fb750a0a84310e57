//! What the Node service made up and Nexus makes up differently: tokens, references, order and
//! payment ids, times. Numbered ids are not among them: the driver sets the database's sequences,
//! so that what an exchange creates gets the id that it had.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

/// The hour of the recording: every time in it that was not sent by a client.
const RECORDED_ON: &str = "2026-11-23T2";

/// Stands in an expected outcome for a value of which only the form is known.
pub mod any {
    /// A stable name of a failure.
    pub const CODE: &str = "<snake_case>";
    /// The id of a request, a session or a token.
    pub const ID: &str = "<id>";
    /// The number that stands for a user in what others hear of an event.
    pub const PSEUDONYM: &str = "<pseudonym>";
    /// The reference of a booking that the recording does not know.
    pub const REFERENCE: &str = "<reference>";
    /// The number of seconds that are left to pay a booking.
    pub const SECONDS_LEFT: &str = "<seconds left>";
    pub const TIME: &str = "<time>";
    /// A token that is new.
    pub const TOKEN: &str = "<token>";
}

/// The live name of each recorded one.
#[derive(Debug, Default)]
pub struct Names(BTreeMap<String, String>);

impl Names {
    /// From now on, `recorded` is called `live`.
    pub fn learn(&mut self, recorded: &str, live: &str) {
        self.0.insert(recorded.to_owned(), live.to_owned());
    }

    /// The live name of `recorded`, if it has one yet.
    pub fn get(&self, recorded: &str) -> Option<&str> {
        self.0.get(recorded).map(String::as_str)
    }

    /// `text` with every recorded name replaced.
    pub fn translate(&self, text: &str) -> String {
        let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let mut translated = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let names = self
                .0
                .iter()
                .filter_map(|(name, live)| Some((rest.strip_prefix(name.as_str())?, live)));
            match names.filter(|(after, _)| ends(after)).min_by_key(|(after, _)| after.len()) {
                Some((after, live)) => {
                    translated.push_str(live);
                    rest = after;
                }
                None => {
                    translated.push(first);
                    rest = &rest[first.len_utf8()..];
                }
            }
        }
        translated
    }

    /// Whether `live` says what `expected` says. A name seen for the first time is learned; from
    /// then on it has to be that one.
    pub fn agree(&mut self, expected: &str, live: &str) -> bool {
        if self.translate(expected) == live {
            return true;
        }
        let (Some(kind), Some(live_kind)) = (Kind::of(expected), Kind::of(live)) else {
            return match expected {
                any::CODE => {
                    live.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
                }
                any::ID => live.len() >= 8,
                any::REFERENCE => Kind::of(live) == Some(Kind::Reference),
                any::TIME => Kind::of(live) == Some(Kind::Time),
                any::TOKEN => claims(live).is_some() && !self.0.values().any(|known| known == live),
                _ => false,
            };
        };
        if kind != live_kind {
            return false;
        }
        match kind {
            Kind::Time => expected.starts_with(RECORDED_ON),
            Kind::Picture => true,
            Kind::Token if session(expected) != session(live) => false,
            _ if self.0.contains_key(expected) => false,
            _ => {
                self.learn(expected, live);
                true
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Token,
    Reference,
    Order,
    Payment,
    Key,
    Time,
    Picture,
}

impl Kind {
    fn of(text: &str) -> Option<Self> {
        let alphanumeric =
            |text: &str| text.len() >= 3 && text.bytes().all(|b| b.is_ascii_alphanumeric());
        let has = |prefix: &str| text.strip_prefix(prefix).is_some_and(alphanumeric);
        if is_time(text) {
            Some(Self::Time)
        } else if is_reference(text) {
            Some(Self::Reference)
        } else if claims(text).is_some() {
            Some(Self::Token)
        } else if has("order_") {
            Some(Self::Order)
        } else if has("pay_") {
            Some(Self::Payment)
        } else if has("rzp_test_") {
            Some(Self::Key)
        } else if text.starts_with("data:image/png;base64,iVBOR") {
            Some(Self::Picture)
        } else {
            None
        }
    }
}

/// Has digits where `pattern` has `0`, and the same characters elsewhere.
fn like(text: &str, pattern: &str) -> bool {
    text.len() == pattern.len()
        && text
            .bytes()
            .zip(pattern.bytes())
            .all(|(c, p)| if p == b'0' { c.is_ascii_digit() } else { c == p })
}

fn is_time(text: &str) -> bool {
    like(text, "0000-00-00T00:00:00.000Z")
}

fn is_reference(text: &str) -> bool {
    const DATED: &str = "BKG-0000-0000-000000-";
    let tail = text.get(DATED.len()..).unwrap_or_default();
    text.get(..DATED.len()).is_some_and(|dated| like(dated, DATED))
        && tail.len() >= 4
        && tail.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

/// What a JWT says.
pub fn claims(token: &str) -> Option<Value> {
    let mut parts = token.split('.').skip(1);
    let claims = BASE64_URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
    parts.next().and_then(|_signature| serde_json::from_slice(&claims).ok())
}

/// Whose token it is, what for, and for how many seconds.
fn session(token: &str) -> Option<(Value, Value, i64)> {
    let claims = claims(token)?;
    let lifetime = claims["exp"].as_i64()? - claims["iat"].as_i64()?;
    Some((claims["userId"].clone(), claims["type"].clone(), lifetime))
}
