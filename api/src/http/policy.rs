//! How the requests to a path are treated, besides what the operation does. Routes declare it when
//! they are added; the layers around the routes ask here, because they see requests before a route
//! is found, and requests that have none.

use std::{sync::Arc, time::Duration};

use http::Method;
use nexus_common::{Error, Result};
use serde_json::{Value, json};

/// No response takes longer: clients and proxies often give up after 30 s. Leases and lock
/// time-outs are shorter.
pub(crate) const DEADLINE: Duration = Duration::from_secs(25);

/// The envelope of a response (docs/contract.md#transport).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Envelope {
    /// `{"data": …}`
    Data,
    /// `{"success": true, "data": …}`, and `"success": false` beside a failure.
    Success,
}

impl Envelope {
    /// A success with this data.
    pub(crate) fn wrap(self, data: Value) -> Value {
        match self {
            Envelope::Data => json!({ "data": data }),
            Envelope::Success => json!({ "success": true, "data": data }),
        }
    }

    /// Whether responses say `success`.
    pub(crate) fn has_success(self) -> bool {
        self == Envelope::Success
    }
}

/// No body is longer than this, an event's with all its seat types (docs/contract.md#failures).
pub(crate) const BODY_LIMIT: usize = 1_000_000;
/// The others of the API: 100 KB, as the Node service had it. A body becomes a tree of JSON before
/// anything else is known of it, which costs much more than its bytes.
const SHORT_BODY: usize = 102_400;

/// How urgent a request is: who has a seat and pays for it, or stands at the door, comes before who
/// wants one, those come before who has not said who they are, and all before who looks around.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Priority {
    /// Payments, bookings, and the door.
    Pay,
    /// Seats, and an account's own things.
    Buy,
    /// Logging in, and whatever else leads to an account, to a socket, or to one's turn.
    Enter,
    /// What everybody may look at.
    Browse,
}

impl Priority {
    pub(crate) const ALL: [Priority; 4] =
        [Priority::Pay, Priority::Buy, Priority::Enter, Priority::Browse];

    /// Its name in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Priority::Pay => "pay",
            Priority::Buy => "buy",
            Priority::Enter => "enter",
            Priority::Browse => "browse",
        }
    }
}

/// How requests are treated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) envelope: Envelope,
    /// Whether they count for their user or their address.
    pub(crate) is_limited: bool,
    /// Whether responses hold tokens or personal data, which caches must not keep.
    pub(crate) is_personal: bool,
    /// Whether browsers show the operators' cookie instead of a token.
    pub(crate) has_cookie: bool,
    /// How long their bodies may be.
    pub(crate) longest_body: usize,
    /// How urgent those are that read something. `None`: they are served however much there is to
    /// do.
    pub(crate) reads: Option<Priority>,
    /// How urgent the others are.
    pub(crate) writes: Option<Priority>,
    /// How urgent both are at most of whom nobody knows.
    pub(crate) unknown: Priority,
}

impl Policy {
    /// For paths without a route.
    pub(crate) const NONE: Policy = Policy {
        envelope: Envelope::Data,
        is_limited: false,
        is_personal: false,
        has_cookie: false,
        longest_body: BODY_LIMIT,
        reads: None,
        writes: None,
        unknown: Priority::Browse,
    };
    /// For the API.
    pub(crate) const API: Policy = Policy {
        is_limited: true,
        longest_body: SHORT_BODY,
        reads: Some(Priority::Browse),
        writes: Some(Priority::Buy),
        ..Policy::NONE
    };
    /// For what is long.
    pub(crate) const EVENTS: Policy = Policy { longest_body: BODY_LIMIT, ..Policy::API };
    /// For the operators' pages.
    pub(crate) const PAGES: Policy =
        Policy { is_personal: true, has_cookie: true, reads: None, writes: None, ..Policy::API };

    /// How urgent a request is of somebody who is known. `None`: it is served however much there is
    /// to do.
    pub(crate) fn priority(&self, method: &Method) -> Option<Priority> {
        match *method {
            Method::OPTIONS => None,
            Method::GET | Method::HEAD => self.reads,
            _ => self.writes,
        }
    }

    /// The same for requests that are that urgent.
    pub(crate) const fn with(self, reads: Priority, writes: Priority) -> Policy {
        Policy { reads: Some(reads), writes: Some(writes), ..self }
    }

    /// The same for what leads to an account, for those who have not shown yet that they have one.
    pub(crate) const fn entrance(self) -> Policy {
        Policy { unknown: Priority::Enter, ..self }
    }
}

/// The policies of all paths. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policies {
    /// For single paths.
    exact: Arc<Vec<(String, Policy)>>,
    /// For paths in which one of these is followed by an id, and that by one of these names.
    inside: Arc<Vec<(String, String, Policy)>>,
    /// For all paths below these.
    below: Arc<Vec<(String, Policy)>>,
    /// Paths that are followed by a segment whose case matters.
    before_an_id: Arc<Vec<String>>,
}

impl Policies {
    /// Policies of single paths; of paths in which one is followed by an id and a name; and of all
    /// paths below others, of which the longest counts. The segment after one of `before_an_id` is
    /// an id whose case matters.
    pub(crate) fn new(
        exact: Vec<(String, Policy)>,
        inside: Vec<(String, String, Policy)>,
        mut below: Vec<(String, Policy)>,
        before_an_id: Vec<String>,
    ) -> Self {
        below.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        Policies {
            exact: Arc::new(exact),
            inside: Arc::new(inside),
            below: Arc::new(below),
            before_an_id: Arc::new(before_an_id),
        }
    }

    /// The policy of a path.
    pub(crate) fn of(&self, path: &str) -> Policy {
        let is_below = |base: &str| {
            path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let is_inside = |base: &str, name: &str| {
            path.strip_prefix(base).and_then(|rest| rest.split('/').nth(2)) == Some(name)
        };
        let exact = self.exact.iter().find(|(exact, _)| exact == path);
        let inside = || self.inside.iter().find(|(base, name, _)| is_inside(base, name));
        let below = || self.below.iter().find(|(base, _)| is_below(base));
        let found = exact.map(|(_, policy)| policy);
        let found = found.or_else(|| inside().map(|(.., policy)| policy));
        found.or_else(|| below().map(|(_, policy)| policy)).copied().unwrap_or(Policy::NONE)
    }

    /// Whether the segment after this path, in lower case, is an id whose case matters.
    pub(crate) fn keeps_case_behind(&self, path: &str) -> bool {
        self.before_an_id.iter().any(|before| before == path)
    }
}

/// Serialises `data` to JSON.
pub(crate) fn json_of(data: impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(data).map_err(Error::internal)
}
