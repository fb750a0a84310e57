//! Traces: which request led to which job, attempt and broadcast. The ids of a trace (W3C Trace
//! Context) go along with whatever is being done: they are written into the rows of the jobs that
//! it enqueues, taken up by their attempts, and named in the logs.
//!
//! With a collector (OTEL_EXPORTER_OTLP_ENDPOINT) spans are recorded and exported in the
//! background: the queue is bounded, exporting takes place in a thread of its own, and a collector
//! that is away costs spans and nothing else. Without one nothing is recorded, and a caller's ids
//! are passed on as they came.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use opentelemetry::{
    Context,
    context::{FutureExt, WithContext},
    propagation::{Extractor, TextMapPropagator},
    trace::{
        SpanBuilder, SpanContext, Status, TraceContextExt, TraceFlags, Tracer, TracerProvider,
    },
};
pub use opentelemetry::{KeyValue, trace::SpanKind};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    propagation::TraceContextPropagator,
    trace::{IdGenerator, RandomIdGenerator, SdkTracer, SdkTracerProvider, SpanData, SpanExporter},
};

use crate::{
    error::{Error, Result},
    tls,
};

/// What is left when the process ends is sent within this time, or lost.
const LAST_EXPORT: Duration = Duration::from_secs(1);

struct Export {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

static EXPORT: OnceLock<Export> = OnceLock::new();

/// Starts exporting as `service`, unless OTEL_SERVICE_NAME says another name. The exporter reads
/// its own settings: OTEL_EXPORTER_OTLP_*, OTEL_BSP_*, OTEL_TRACES_SAMPLER,
/// OTEL_RESOURCE_ATTRIBUTES.
pub fn start(service: &'static str) -> Result<()> {
    tls::install_crypto();
    let exporter = OtlpExporter::builder()
        .with_http()
        .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
        .build()
        .map_err(Error::internal)?;
    let mut resource = Resource::builder()
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    let is_named = Resource::builder()
        .build()
        .get_ref(&"service.name".into())
        .is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    if !is_named {
        resource = resource.with_service_name(service);
    }
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(Watched { exporter, failing: AtomicBool::new(false) })
        .with_resource(resource.build())
        .build();
    let tracer = provider.tracer("nexus");
    let _ = EXPORT.set(Export { provider, tracer });
    Ok(())
}

/// Exports what is left. Blocks for a second at most.
pub fn stop() {
    if let Some(export) = EXPORT.get()
        && let Err(error) = export.provider.shutdown_with_timeout(LAST_EXPORT)
    {
        tracing::debug!(%error, "the last spans are lost");
    }
}

/// The traceparent of what is being done now; it goes with the jobs that this enqueues.
pub fn current() -> Option<String> {
    Context::map_current(traceparent)
}

/// A future that is to run in a task of its own but belongs to what is being done now.
pub fn carried<F: Future>(future: F) -> WithContext<F> {
    future.with_current_context()
}

/// Something that is being done: a request, an attempt at a job, a broadcast. Recorded when it
/// ends, or is dropped.
#[derive(Clone, Debug)]
pub struct Span(Context);

impl Span {
    /// Begins what somebody else asked for: whoever sent that `traceparent`, if there is a valid
    /// one.
    pub fn asked_for(
        kind: SpanKind,
        traceparent: Option<&str>,
        name: impl FnOnce() -> String,
    ) -> Self {
        let parent = traceparent.map_or_else(Context::new, |text| {
            TraceContextPropagator::new().extract_with_context(&Context::new(), &Traceparent(text))
        });
        Self::begin(kind, parent, name)
    }

    /// Begins a part of what is being done now.
    pub fn within(kind: SpanKind, name: impl FnOnce() -> String) -> Self {
        Self::begin(kind, Context::current(), name)
    }

    /// What belongs to no trace.
    pub fn none() -> Self {
        Span(Context::new())
    }

    fn begin(kind: SpanKind, parent: Context, name: impl FnOnce() -> String) -> Self {
        let Some(export) = EXPORT.get() else {
            let is_known = parent.span().span_context().is_valid();
            return Span(if is_known {
                parent
            } else {
                parent.with_remote_span_context(new_ids())
            });
        };
        let builder = SpanBuilder::from_name(name()).with_kind(kind);
        let span = export.tracer.build_with_context(builder, &parent);
        Span(parent.with_span(span))
    }

    /// Adds what is known about it now. Evaluated only if it is recorded.
    pub fn describe<const N: usize>(&self, attributes: impl FnOnce() -> [KeyValue; N]) {
        let span = self.0.span();
        if span.is_recording() {
            span.set_attributes(attributes());
        }
    }

    /// It did not succeed, for that reason.
    pub fn failed(&self, why: &str) {
        let span = self.0.span();
        if span.is_recording() {
            span.set_status(Status::error(why.to_owned()));
        }
    }

    /// It ends now.
    pub fn end(self) {
        self.0.span().end();
    }

    /// Does a part of it: what that enqueues or broadcasts belongs to this span.
    pub fn run<F: Future>(&self, future: F) -> WithContext<F> {
        future.with_context(self.0.clone())
    }

    /// The trace that it belongs to, as logs name it.
    pub fn trace_id(&self) -> Option<String> {
        let span = self.0.span();
        let ids = span.span_context();
        ids.is_valid().then(|| ids.trace_id().to_string())
    }
}

fn traceparent(context: &Context) -> Option<String> {
    let span = context.span();
    let ids = span.span_context();
    let sampled = u8::from(ids.is_sampled());
    ids.is_valid().then(|| format!("00-{}-{}-{sampled:02x}", ids.trace_id(), ids.span_id()))
}

/// Ids for a trace that begins here and is not recorded here.
fn new_ids() -> SpanContext {
    let ids = RandomIdGenerator::default();
    SpanContext::new(
        ids.new_trace_id(),
        ids.new_span_id(),
        TraceFlags::SAMPLED,
        true,
        Default::default(),
    )
}

/// A lone `traceparent` where the library expects headers.
struct Traceparent<'a>(&'a str);

impl Extractor for Traceparent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == "traceparent").then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}

/// Says once that spans are lost, and once that they are not any more.
#[derive(Debug)]
struct Watched {
    exporter: OtlpExporter,
    failing: AtomicBool,
}

impl SpanExporter for Watched {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.exporter.export(batch).await;
        match (&result, self.failing.swap(result.is_err(), Ordering::Relaxed)) {
            (Err(error), false) => tracing::warn!(%error, "traces do not reach the collector"),
            (Ok(()), true) => tracing::info!("traces reach the collector again"),
            _ => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn ids_of(traceparent: Option<&str>) -> String {
        let span = Span::asked_for(SpanKind::Server, traceparent, || "test".into());
        super::traceparent(&span.0).unwrap()
    }

    #[test]
    fn a_callers_ids_are_passed_on_and_new_ones_made_for_who_sends_none() {
        assert_eq!(ids_of(Some(GIVEN)), GIVEN);
        assert_eq!(&ids_of(None)[..3], "00-");
        assert_ne!(ids_of(None), ids_of(None));
    }

    #[test]
    fn what_is_no_traceparent_is_as_good_as_none() {
        let zero_trace = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        let zero_span = "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01";
        for wrong in
            ["", "x", zero_trace, zero_span, &GIVEN.to_uppercase(), &GIVEN[..54], "ff-1-1-1", "é"]
        {
            assert_ne!(ids_of(Some(wrong)), wrong);
        }
    }

    #[tokio::test]
    async fn what_runs_within_a_span_knows_it() {
        assert_eq!(current(), None);
        let span = Span::asked_for(SpanKind::Server, Some(GIVEN), || "test".into());
        let (here, there) = span
            .run(async {
                let there = tokio::spawn(carried(async { current() }));
                (current(), there.await.unwrap())
            })
            .await;
        assert_eq!((here.as_deref(), there.as_deref()), (Some(GIVEN), Some(GIVEN)));
        assert_eq!(current(), None);
    }
}
