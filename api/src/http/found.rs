//! What is found out about a request on its way, for its line in the log.

use std::sync::{Arc, OnceLock};

use axum::extract::MatchedPath;
use nexus_common::types::ids::UserId;
use tracing::Span;

/// What is found out about a request within the router.
#[derive(Clone, Default)]
pub(crate) struct Found(Arc<Facts>);

#[derive(Default)]
struct Facts {
    /// The request's id.
    id: String,
    /// The pattern that matched, not the path: paths contain ids, and every request would be its own
    /// kind.
    route: OnceLock<MatchedPath>,
    user: OnceLock<UserId>,
    /// The client's address, hashed.
    address: OnceLock<String>,
}

impl Found {
    /// The request's id.
    pub(crate) fn id(&self) -> &str {
        &self.0.id
    }

    /// Says who calls, and from where: in all lines of the request.
    pub(crate) fn caller(&self, user: Option<UserId>, address: &str) {
        let span = Span::current();
        span.record("address", address);
        let _ = self.0.address.set(address.to_owned());
        if let Some(user) = user {
            span.record("user_id", user.0);
            let _ = self.0.user.set(user);
        }
    }

    /// Of a request with that id.
    pub(crate) fn new(id: &str) -> Self {
        Found(Arc::new(Facts { id: id.to_owned(), ..Facts::default() }))
    }

    /// Says which route it is.
    pub(crate) fn set_route(&self, route: MatchedPath) {
        let _ = self.0.route.set(route);
    }

    /// The route, if there is one.
    pub(crate) fn route(&self) -> Option<&MatchedPath> {
        self.0.route.get()
    }

    /// Who calls, if that is known.
    pub(crate) fn user(&self) -> Option<UserId> {
        self.0.user.get().copied()
    }

    /// The client's address, hashed.
    pub(crate) fn address(&self) -> Option<&String> {
        self.0.address.get()
    }
}
