//! A collector of traces: takes what is exported over OTLP/HTTP, or takes it and never answers.

use std::future::pending;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1::Span as Exported;
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::SOON;
use crate::waiting::eventually;

/// A span as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// `service.name` of the process.
    pub service: String,
    /// `job send_otp`
    pub name: String,
    /// The trace, in hexadecimal.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// The id of the span that caused it; empty when there is none.
    pub parent: String,
    /// Attributes that are text, and numbers as text.
    pub attributes: Vec<(String, String)>,
    /// Whether its status is an error.
    pub failed: bool,
}

impl Span {
    /// The attribute of that name.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A running collector.
#[derive(Debug)]
pub struct Collector {
    url: String,
    spans: Arc<Mutex<Vec<Span>>>,
    requests: Arc<Mutex<usize>>,
    server: JoinHandle<()>,
}

impl Collector {
    /// One that answers.
    pub async fn start() -> Self {
        Self::serve(false).await
    }

    /// One that takes every connection and every request, and never answers.
    pub async fn hanging() -> Self {
        Self::serve(true).await
    }

    async fn serve(hangs: bool) -> Self {
        let (spans, requests) =
            (Arc::<Mutex<Vec<Span>>>::default(), Arc::<Mutex<usize>>::default());
        let (store, count) = (spans.clone(), requests.clone());
        let take = move |body: Bytes| {
            let (store, count) = (store.clone(), count.clone());
            async move {
                *locked(&count) += 1;
                if hangs {
                    pending::<()>().await;
                }
                let request = ExportTraceServiceRequest::decode(body).expect("OTLP in protobuf");
                locked(&store).extend(read(request));
            }
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().route("/v1/traces", post(take));
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { url, spans, requests, server }
    }

    /// OTEL_EXPORTER_OTLP_ENDPOINT
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many exports have come.
    pub fn requests(&self) -> usize {
        *locked(&self.requests)
    }

    /// Everything that has come.
    pub fn spans(&self) -> Vec<Span> {
        locked(&self.spans).clone()
    }

    /// Waits for a span.
    pub async fn span(&self, what: &str, is_it: impl Fn(&Span) -> bool) -> Span {
        eventually(&format!("the collector gets {what}"), SOON, async || {
            let spans = self.spans();
            spans.iter().find(|span| is_it(span)).cloned().ok_or_else(|| format!("{spans:#?}"))
        })
        .await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for process in request.resource_spans {
        let about = process.resource.map(|resource| resource.attributes).unwrap_or_default();
        let about = attributes(about);
        let service =
            about.iter().find(|(name, _)| name == "service.name").map(|(_, name)| name.clone());
        let exported = process.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.extend(exported.map(|span| span_of(service.clone().unwrap_or_default(), span)));
    }
    spans
}

fn span_of(service: String, span: Exported) -> Span {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Span {
        service,
        name: span.name,
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        attributes: attributes(span.attributes),
        failed: span.status.is_some_and(|status| status.code == 2),
    }
}

fn attributes(
    pairs: Vec<opentelemetry_proto::tonic::common::v1::KeyValue>,
) -> Vec<(String, String)> {
    let text = |value: any_value::Value| match value {
        any_value::Value::StringValue(text) => Some(text),
        any_value::Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    };
    let pair = |pair: opentelemetry_proto::tonic::common::v1::KeyValue| {
        Some((pair.key, text(pair.value?.value?)?))
    };
    pairs.into_iter().filter_map(pair).collect()
}
