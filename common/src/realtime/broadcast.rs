//! One message to clients, and who receives it.

use std::future::Future;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use tracing::Instrument;
use utoipa::ToSchema;

use crate::{
    observability::{metrics, traces},
    types::{
        ids::{EventId, UserId},
        visibility::Visibility,
    },
};

/// What a broadcast says (docs/contract.md#broadcasts).
pub trait Payload: Serialize + ToSchema {
    /// The Socket.IO event's name.
    const EVENT: &'static str;
    /// For the API documents.
    const LISTENERS: Listeners;
}

/// Who hears a kind of broadcast.
#[derive(Clone, Copy, Debug)]
pub enum Listeners {
    Everybody,
    Viewers,
    ViewersOfBookings,
    Buyer,
    Organiser,
}

impl Listeners {
    /// The text in the API documents.
    pub fn description(self) -> &'static str {
        match self {
            Listeners::Everybody => {
                "Every client; of drafts and private events, their organiser only."
            }
            Listeners::Viewers => {
                "Clients that have joined the event, and those that have joined none; of a private \
                 event, those that have joined it with its share code, and the organiser's; of a \
                 draft, the organiser's."
            }
            Listeners::ViewersOfBookings => {
                "Clients that have joined the event, and those that have joined none: the buyer's \
                 and the organiser's are told all of it, others without what is nobody else's \
                 business. Of a private event, others only if they have joined it with its share \
                 code; of a draft, no others."
            }
            Listeners::Buyer => "The buyer's clients.",
            Listeners::Organiser => "The clients of the event's organiser.",
        }
    }
}

/// Who receives a broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Audience {
    /// Every connected client, anonymous ones too.
    Everyone,
    /// Everyone but one user's sockets.
    Others(UserId),
    /// About seats and bookings of an event: those who joined it, and those who never joined any,
    /// as far as they may know of it.
    Event(EventId, Visibility),
    /// The sockets of the booking's parties that joined its event, or never joined any.
    Parties(Parties),
    /// The sockets of `Event` that are not the booking's parties'.
    Bystanders(Parties),
    /// The sockets of `Event` that are.
    Insiders(Parties),
    /// One user's sockets.
    User(UserId),
}

impl Audience {
    /// The event that it is to be heard of, if there is one: its listeners hear either form of what
    /// is said of a booking or a lock, or neither.
    pub fn view(self) -> Option<(EventId, Visibility)> {
        match self {
            Audience::Event(event, visibility) => Some((event, visibility)),
            _ => self.parties().map(|parties| (parties.event, parties.visibility)),
        }
    }

    /// Those who hear another form than the others.
    pub fn parties(self) -> Option<Parties> {
        match self {
            Audience::Parties(parties)
            | Audience::Bystanders(parties)
            | Audience::Insiders(parties) => Some(parties),
            _ => None,
        }
    }
}

/// The buyer and the organiser of a booking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parties {
    pub event: EventId,
    /// Who else may know of the event.
    pub visibility: Visibility,
    pub buyer: UserId,
    pub organiser: UserId,
}

impl Parties {
    /// The user alone, about something of an event that is nobody else's.
    pub fn one(user: UserId, event: EventId, visibility: Visibility) -> Self {
        Parties { event, visibility, buyer: user, organiser: user }
    }

    /// The buyer alone; to the organiser it is what it is to others.
    pub fn without_organiser(self) -> Self {
        Parties { organiser: self.buyer, ..self }
    }

    /// The buyer, and the organiser if that is somebody else.
    pub fn users(self) -> impl Iterator<Item = UserId> {
        let organiser = Some(self.organiser).filter(|organiser| *organiser != self.buyer);
        [self.buyer].into_iter().chain(organiser)
    }
}

/// One message to clients.
#[derive(Clone, Debug)]
pub struct Broadcast {
    /// The Socket.IO event's name (docs/contract.md#broadcasts).
    pub event: &'static str,
    /// Who receives it.
    pub audience: Audience,
    /// `[event, payload]`: encoded once, however many receive it.
    pub data: Box<RawValue>,
}

impl Broadcast {
    /// A broadcast of the payload to `audience`.
    pub fn new<P: Payload>(audience: Audience, payload: P) -> Self {
        let data = to_raw_value(&(P::EVENT, payload)).or_else(|error| {
            tracing::error!(%error, event = P::EVENT, "a broadcast does not serialise");
            to_raw_value(&(P::EVENT, ()))
        });
        let data = data.unwrap_or_else(|_| RawValue::NULL.to_owned());
        Broadcast { event: P::EVENT, audience, data }
    }

    /// Sends it by `emit`: counted, logged, and traced as part of what caused it.
    pub async fn send<E: std::fmt::Display>(
        &self,
        emit: impl Future<Output = Result<(), E>>,
    ) -> Result<(), E> {
        let span = tracing::info_span!(
            "broadcast",
            otel.name = format!("broadcast {}", self.event),
            otel.kind = "producer",
            nexus.broadcast.audience = ?self.audience,
        );
        let sent = emit.instrument(span.clone()).await;
        metrics::broadcast(self.event);
        let trace_id = traces::trace_id(&span);
        tracing::debug!(event = self.event, audience = ?self.audience, trace_id, "broadcast");
        if let Err(error) = &sent {
            traces::failed(&span, &error.to_string());
        }
        sent
    }
}

/// Something that can deliver a broadcast.
pub trait Publish: Clone + Send + Sync + 'static {
    /// Delivers, or logs why not; never fails and never blocks for long.
    fn publish(&self, broadcast: Broadcast) -> impl Future<Output = ()> + Send;
}
