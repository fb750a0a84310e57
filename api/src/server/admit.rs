//! Requests are served if there is a place for them ([`admission`](crate::admission)). To turn one
//! away has to cost as little as possible: it has no line in the log and no trace, and no other
//! metric than that of the gate.

use axum::{
    extract::{FromRequestParts, Request},
    response::{IntoResponse, Response},
};
use http::HeaderMap;
use nexus_common::door::keys::Token;

use super::{
    layers::{Answer, Layer},
    request_log::{REQUEST_ID, request_id, write_failure},
};
use crate::{
    admission::Asker,
    app::App,
    auth::caller::bearer,
    http::{
        api_error::ApiError,
        body_limits::{gather, leave_unread},
        client_ip::ClientIp,
        policy::Policies,
    },
    socketio::upgrade::session,
};

/// Lets the requests in that the policies of their paths have a priority for.
pub(crate) struct Admit {
    pub(crate) app: App,
    pub(crate) policies: Policies,
}

impl Layer for Admit {
    async fn around(&self, request: Request, inner: &impl Answer) -> Response {
        let path = request.uri().path();
        let policy = self.policies.of(path);
        let Some(mut priority) = policy.priority(request.method()) else {
            return inner.answer(request).await;
        };
        // A session's requests wait on purpose.
        if path.starts_with("/socket.io") && session(request.uri()).is_some() {
            return inner.answer(request).await;
        }
        let (mut parts, body) = request.into_parts();
        let Ok(address) = ClientIp::from_request_parts(&mut parts, &self.app).await;
        if priority < policy.unknown && !is_known(&parts.headers, &self.app) {
            priority = policy.unknown;
        }
        let body = gather(&parts.headers, body, policy.longest_body).await;
        let request = Request::from_parts(parts, body);
        match self.app.gate.admit(Asker { from: address.network(), priority }).await {
            Ok(admitted) => admitted.serve(inner.answer(request)).await,
            Err(error) => {
                let failure = ApiError::from(error);
                let mut response = failure.status.into_response();
                let id = request_id(request.headers());
                leave_unread(request);
                write_failure(&mut response, &failure, policy.envelope, &id);
                response.headers_mut().extend(id.parse().map(|id| (REQUEST_ID.clone(), id)));
                response
            }
        }
    }
}

/// Whether a request comes from an account or a scanner, as far as this process can tell alone: the
/// token may have been revoked meanwhile.
fn is_known(headers: &HeaderMap, app: &App) -> bool {
    bearer(headers).is_some_and(|token| match Token::parse(token) {
        Some(key) => app.known_scanners.contains(&key),
        None => app.signer.verify_access(token).is_ok(),
    })
}
