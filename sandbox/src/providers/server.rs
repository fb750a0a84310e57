//! Listeners that can be switched off and on again on the same port.

use std::convert::Infallible;
use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::http::Response;
use axum::response::IntoResponse;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, JoinSet};
use tower::ServiceExt;

use crate::ports;

/// What to do with one connection.
pub(crate) type Serve =
    Arc<dyn Fn(TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A response extension: instead of being sent, the response closes the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HangUp;

/// A response that the client sees as a dropped connection.
pub(crate) fn hang_up() -> axum::response::Response {
    let mut response = ().into_response();
    response.extensions_mut().insert(HangUp);
    response
}

/// Serves a router over HTTP/1.1.
pub(crate) fn http(router: Router) -> Serve {
    Arc::new(move |stream| {
        let router = router.clone();
        Box::pin(async move {
            let service = service_fn(move |request| {
                let router = router.clone();
                async move {
                    let response: Response<_> =
                        router.oneshot(request).await.unwrap_or_else(|e: Infallible| match e {});
                    // An error from the service makes hyper close the connection without a word.
                    if response.extensions().get::<HangUp>().is_some() {
                        Err("hang up")
                    } else {
                        Ok(response)
                    }
                }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        })
    })
}

/// A loopback listener with an off switch.
pub(crate) struct Switch {
    port: u16,
    serve: Serve,
    running: Mutex<Option<JoinHandle<()>>>,
}

impl Switch {
    pub(crate) async fn start(port: u16, serve: Serve) -> Result<Self> {
        let port = if port == 0 { ports::free() } else { port };
        let switch = Self { port, serve, running: Mutex::default() };
        switch.resume().await?;
        Ok(switch)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) async fn resume(&self) -> Result<()> {
        let mut running = self.running.lock().await;
        if running.is_none() {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port))
                .await
                .with_context(|| format!("cannot listen on 127.0.0.1:{}", self.port))?;
            *running = Some(tokio::spawn(accept(listener, self.serve.clone())));
        }
        Ok(())
    }

    /// Closes the listener and every connection.
    pub(crate) async fn stop(&self) {
        if let Some(task) = self.running.lock().await.take() {
            task.abort();
            let _ = task.await;
        }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        if let Some(task) = self.running.get_mut().take() {
            task.abort();
        }
    }
}

async fn accept(listener: TcpListener, serve: Serve) {
    // Dropped, and with it every connection, when this task is aborted.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let _ = stream.set_nodelay(true);
                    connections.spawn(serve(stream));
                }
                // Out of file descriptors, usually: wait for some to be closed.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}
