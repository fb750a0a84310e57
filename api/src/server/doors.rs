//! The doors through which requests come: the API's, and, with ADMIN_ADDRESS, another one for the
//! operators' pages. What is behind the one is not found through the other.

use std::sync::Arc;

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};

use super::layers::{Answer, Layer};
use crate::http::api_error::ApiError;

/// Through which door a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// The only one.
    Only,
    /// The API's, beside the operators'.
    Api,
    /// The operators'.
    Operators,
}

impl Door {
    fn leads_to(self, path: &str) -> bool {
        let is_admin = path
            .strip_prefix("/admin")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        match self {
            Door::Only => true,
            Door::Api => !is_admin,
            Door::Operators => is_admin,
        }
    }
}

/// What is behind a door.
pub(super) struct Behind<A>(pub(super) Door, pub(super) Arc<A>);

impl<A: Answer> Answer for Behind<A> {
    fn answer(&self, mut request: Request) -> impl Future<Output = Response> + Send {
        request.extensions_mut().insert(self.0);
        self.1.answer(request)
    }
}

/// Answers what is not behind the request's door, which paths that are normal tell.
pub(super) struct Keep;

impl Layer for Keep {
    async fn around(&self, request: Request, inner: &impl Answer) -> Response {
        let door = request.extensions().get::<Door>().copied().unwrap_or(Door::Api);
        match door.leads_to(request.uri().path()) {
            true => inner.answer(request).await,
            false => ApiError::route_not_found().into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_door_leads_to_what_is_behind_it() {
        for (path, api, operators) in [
            ("/admin", false, true),
            ("/admin/jobs", false, true),
            ("/administrator", true, false),
            ("/api/v1/events", true, false),
            ("/socket.io/", true, false),
        ] {
            assert_eq!(Door::Api.leads_to(path), api, "{path}");
            assert_eq!(Door::Operators.leads_to(path), operators, "{path}");
            assert!(Door::Only.leads_to(path));
        }
    }
}
