//! How the requests to a path are treated beside what its operation does. Routes say so when they
//! are added; what wraps the routes asks here, because it sees requests before a route is found,
//! and those for which there is none.

use std::{sync::Arc, time::Duration};

use nexus_common::{Error, Result};
use serde_json::{Value, json};

/// No response takes longer: clients and proxies often give up after 30 s. Locks of a database and
/// of a queue are shorter.
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
    /// A success with that data.
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

/// How requests are treated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) envelope: Envelope,
    /// Whether they count for their user or their address.
    pub(crate) is_limited: bool,
    /// Whether responses hold tokens or personal data, which nobody keeps.
    pub(crate) is_personal: bool,
}

impl Policy {
    /// Of what is no route.
    pub(crate) const NONE: Policy =
        Policy { envelope: Envelope::Data, is_limited: false, is_personal: false };
    /// Of the API.
    pub(crate) const API: Policy = Policy { is_limited: true, ..Policy::NONE };
    /// Of what holds personal data.
    pub(crate) const PERSONAL: Policy = Policy { is_personal: true, ..Policy::NONE };
}

/// The policies of all paths. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policies {
    /// Of single paths.
    exact: Arc<Vec<(String, Policy)>>,
    /// Of whatever is below these paths.
    below: Arc<Vec<(String, Policy)>>,
    /// Paths before segments whose case matters.
    before_an_id: Arc<Vec<String>>,
}

impl Policies {
    /// Policies of single paths, and of whatever is below others, of which the longest counts. The
    /// segment behind one of `before_an_id` is an id whose case matters.
    pub(crate) fn new(
        exact: Vec<(String, Policy)>,
        mut below: Vec<(String, Policy)>,
        before_an_id: Vec<String>,
    ) -> Self {
        below.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        Policies {
            exact: Arc::new(exact),
            below: Arc::new(below),
            before_an_id: Arc::new(before_an_id),
        }
    }

    /// The policy of a path.
    pub(crate) fn of(&self, path: &str) -> Policy {
        let is_below = |base: &str| {
            path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let exact = self.exact.iter().find(|(exact, _)| exact == path);
        let found = exact.or_else(|| self.below.iter().find(|(base, _)| is_below(base)));
        found.map_or(Policy::NONE, |(_, policy)| *policy)
    }

    /// Whether the segment behind this path, in lower case, is an id whose case matters.
    pub(crate) fn keeps_case_behind(&self, path: &str) -> bool {
        self.before_an_id.iter().any(|before| before == path)
    }
}

/// JSON of something that is said.
pub(crate) fn json_of(data: impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(data).map_err(Error::internal)
}
