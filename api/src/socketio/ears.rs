//! What a client hears, apart from the connection over which it does.

use std::collections::BTreeMap;

use nexus_common::{
    realtime::{Audience, Parties},
    types::{
        ids::{EventId, UserId},
        visibility::{ShareCode, Viewer, Visibility},
    },
};

/// Events that a client has joined, and the share codes with which it has.
pub(super) type Joined = BTreeMap<EventId, Option<ShareCode>>;

#[derive(Clone, Default)]
pub(super) struct Ears {
    /// The events about whose seats and bookings it hears; `None`: about all.
    pub(super) joined: Option<Joined>,
    /// Whose own it hears.
    pub(super) user: Option<UserId>,
}

impl Ears {
    pub(super) fn views(&self, event: EventId) -> bool {
        self.joined.as_ref().is_none_or(|events| events.contains_key(&event))
    }

    /// As whom it looks at an event.
    pub(super) fn viewer(&self, event: EventId) -> Viewer {
        let joined = self.joined.as_ref().and_then(|events| events.get(&event));
        Viewer { user: self.user, code: joined.copied().flatten() }
    }

    /// Whether it hears what is said to that audience, as `Listeners::audience` has it.
    pub(super) fn hear(&self, audience: Audience) -> bool {
        let may_view = |event, visibility: Visibility| {
            self.views(event) && visibility.is_open_to(self.viewer(event))
        };
        let is_party = |parties: Parties| parties.users().any(|user| self.user == Some(user));
        match audience {
            Audience::Everyone => true,
            Audience::Others(user) => self.user != Some(user),
            Audience::Event(event, visibility) => may_view(event, visibility),
            Audience::Bystanders(parties) => {
                may_view(parties.event, parties.visibility) && !is_party(parties)
            }
            Audience::Insiders(parties) => {
                may_view(parties.event, parties.visibility) && is_party(parties)
            }
            Audience::Parties(parties) => self.views(parties.event) && is_party(parties),
            Audience::User(user) => self.user == Some(user),
        }
    }
}
