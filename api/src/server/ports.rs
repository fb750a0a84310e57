//! The ports through which requests come: the API's, and, with ADMIN_ADDRESS, another one for the
//! operators' pages. What is behind the one is not found through the other.

use std::sync::Arc;

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};

use super::layers::{Answer, Layer};
use crate::http::api_error::ApiError;

/// Through which port a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    /// The only one.
    Only,
    /// The API's, beside the operators'.
    Api,
    /// The operators'.
    Operators,
}

impl Port {
    fn leads_to(self, path: &str) -> bool {
        let is_admin = path
            .strip_prefix("/admin")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        match self {
            Port::Only => true,
            Port::Api => !is_admin,
            Port::Operators => is_admin,
        }
    }
}

/// What is behind a port.
pub(super) struct Behind<A>(pub(super) Port, pub(super) Arc<A>);

impl<A: Answer> Answer for Behind<A> {
    fn answer(&self, mut request: Request) -> impl Future<Output = Response> + Send {
        request.extensions_mut().insert(self.0);
        self.1.answer(request)
    }
}

/// Answers what is not behind the request's port, which paths that are normal tell.
pub(super) struct Keep;

impl Layer for Keep {
    async fn around(&self, request: Request, inner: &impl Answer) -> Response {
        let port = request.extensions().get::<Port>().copied().unwrap_or(Port::Api);
        match port.leads_to(request.uri().path()) {
            true => inner.answer(request).await,
            false => ApiError::route_not_found().into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_leads_to_what_is_behind_it() {
        for (path, api, operators) in [
            ("/admin", false, true),
            ("/admin/jobs", false, true),
            ("/administrator", true, false),
            ("/api/v1/events", true, false),
            ("/socket.io/", true, false),
        ] {
            assert_eq!(Port::Api.leads_to(path), api, "{path}");
            assert_eq!(Port::Operators.leads_to(path), operators, "{path}");
            assert!(Port::Only.leads_to(path));
        }
    }
}
