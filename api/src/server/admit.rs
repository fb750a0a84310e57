//! Requests are served if there is a place for them ([`admission`](crate::admission)). To turn one
//! away has to cost as little as possible: it has no line in the log and no trace, and no other
//! metric than that of the gate.

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};

use super::{
    layers::{Answer, Layer},
    request_log::{REQUEST_ID, request_id, write_failure},
};
use crate::{
    admission::Gate,
    http::{api_error::ApiError, body_limits::leave_unread, policy::Policies},
    socketio::upgrade::session,
};

/// Lets the requests in that the policies of their paths have a priority for.
pub(crate) struct Admit {
    pub(crate) gate: Gate,
    pub(crate) policies: Policies,
}

impl Layer for Admit {
    async fn around(&self, request: Request, inner: &impl Answer) -> Response {
        let path = request.uri().path();
        let policy = self.policies.of(path);
        let Some(priority) = policy.priority(request.method()) else {
            return inner.answer(request).await;
        };
        // A session's requests wait on purpose.
        if path.starts_with("/socket.io") && session(request.uri()).is_some() {
            return inner.answer(request).await;
        }
        match self.gate.admit(priority).await {
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
