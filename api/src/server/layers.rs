//! The layers around the routes: each sees a request before all within it, and their response after
//! them. Unlike tower's, which every request copies and boxes one by one, they are shared by all
//! requests, and the future of a request is one (docs/realtime.md#speed).

use std::{convert::Infallible, panic::AssertUnwindSafe};

use axum::{
    Router,
    extract::Request,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use nexus_common::Error;
use tower::{Layer as _, ServiceExt, service_fn};
use tower_http::cors::CorsLayer;

use crate::http::api_error::ApiError;

/// What answers requests.
pub(crate) trait Answer: Send + Sync {
    /// Answers a request.
    fn answer(&self, request: Request) -> impl Future<Output = Response> + Send;

    /// The same within a layer.
    fn within<L: Layer>(self, layer: L) -> Within<Self, L>
    where
        Self: Sized,
    {
        Within { inner: self, layer }
    }
}

/// What stands around something that answers requests.
pub(crate) trait Layer: Send + Sync {
    /// Answers a request, with the help of what is `inner`.
    fn around(
        &self,
        request: Request,
        inner: &impl Answer,
    ) -> impl Future<Output = Response> + Send;
}

/// Something within a layer.
pub(crate) struct Within<A, L> {
    inner: A,
    layer: L,
}

impl<A: Answer, L: Layer> Answer for Within<A, L> {
    fn answer(&self, request: Request) -> impl Future<Output = Response> + Send {
        self.layer.around(request, &self.inner)
    }
}

/// The routes.
pub(crate) struct Routes(pub(crate) Router);

impl Answer for Routes {
    async fn answer(&self, request: Request) -> Response {
        let Ok(response) = self.0.clone().oneshot(request).await;
        response
    }
}

impl Layer for CorsLayer {
    async fn around(&self, request: Request, inner: &impl Answer) -> Response {
        let inner = service_fn(async |request| Ok::<_, Infallible>(inner.answer(request).await));
        let Ok(response) = self.layer(inner).oneshot(request).await;
        response
    }
}

/// Answers in place of what panics; the panic itself is in the log.
pub(crate) struct CatchPanic;

impl Layer for CatchPanic {
    async fn around(&self, request: Request, inner: &impl Answer) -> Response {
        let answer = AssertUnwindSafe(inner.answer(request)).catch_unwind();
        let panicked = |_| ApiError::from(Error::internal("a handler panicked")).into_response();
        answer.await.unwrap_or_else(panicked)
    }
}
