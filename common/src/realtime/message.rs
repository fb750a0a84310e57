//! A broadcast on its way between processes. Every process hears every broadcast, over one channel of
//! Redis, and tells those of its own clients that it is meant for.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Audience, Broadcast};

/// The channel. Its number changes with what is said on it: processes of two releases do not hear
/// each other's broadcasts rather than misunderstand them.
pub const CHANNEL: &str = "nexus:broadcasts:3";

/// What is said on the channel.
#[derive(Debug, Serialize, Deserialize)]
pub struct Message {
    /// The API process that has told its own clients already; `None` from a worker.
    pub from: Option<Uuid>,
    pub to: Audience,
    /// `[event, payload]`.
    pub data: Box<RawValue>,
}

impl Message {
    /// What `from` says to the other processes.
    pub fn new(from: Option<Uuid>, broadcast: &Broadcast) -> Self {
        Message { from, to: broadcast.audience, data: broadcast.data.clone() }
    }

    /// As it is published.
    pub fn encoded(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{
        ids::{EventId, UserId},
        visibility::{ShareCode, Visibility},
    };

    #[test]
    fn what_is_published_is_what_is_heard() {
        let code = ShareCode::parse("67e55044-10b1-426f-9247-bb680e5fe0c8").unwrap();
        let to = Audience::Bystanders(super::super::Parties {
            event: EventId(1),
            visibility: Visibility::Private { organiser: UserId(3), code },
            buyer: UserId(2),
            organiser: UserId(3),
        });
        let data = RawValue::from_string(r#"["seat_locked",{"a":[1,"ü"]}]"#.into()).unwrap();
        let broadcast = Broadcast { event: "seat_locked", audience: to, data };
        let from = Some(Uuid::from_u128(7));
        let said = Message::new(from, &broadcast).encoded().unwrap();
        let heard: Message = serde_json::from_str(&said).unwrap();
        assert_eq!((heard.from, heard.to, heard.data.get()), (from, to, broadcast.data.get()));
    }
}
