//! Traces: which request led to which job, attempt and broadcast. The ids of a trace (W3C Trace
//! Context) travel with the work: they are written into the rows of the jobs that it enqueues,
//! taken up by their attempts, and named in the logs.
//!
//! With a collector (OTEL_EXPORTER_OTLP_ENDPOINT), spans are recorded and exported in the
//! background: the queue is bounded, exporting runs in a separate thread, and a collector that is
//! away costs only spans. Without one nothing is recorded, and a caller's ids are passed on as they
//! came.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use opentelemetry::{
    Context, KeyValue,
    context::{FutureExt, WithContext},
    global,
    propagation::{Extractor, TextMapPropagator},
    trace::{SpanContext, Status, TraceContextExt, TraceFlags},
};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    propagation::TraceContextPropagator,
    trace::{IdGenerator, RandomIdGenerator, SdkTracerProvider, SpanData, SpanExporter},
};
use tracing::{Level, Span, Subscriber, field};
pub use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{Layer, filter, registry::LookupSpan};

use crate::{
    error::{Error, Result},
    tls,
};

/// How long the last export at the process's end may take; the rest is lost.
const LAST_EXPORT: Duration = Duration::from_secs(1);

/// Where spans are recorded, if there is a collector.
static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Our spans with this target are in the logs, but not in traces.
pub const UNTRACED: &str = "untraced";

/// Starts exporting as `service`, unless OTEL_SERVICE_NAME gives another name. The exporter reads
/// its own settings: OTEL_EXPORTER_OTLP_*, OTEL_BSP_*, OTEL_TRACES_SAMPLER,
/// OTEL_RESOURCE_ATTRIBUTES.
pub(super) fn export(service: &'static str) -> Result<()> {
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
    global::set_tracer_provider(provider.clone());
    let _ = PROVIDER.set(provider);
    Ok(())
}

/// Turns our `tracing` spans into spans of traces. Comes after [`export`].
pub(super) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl Layer<S> {
    // Dynamic: otherwise callsites that every layer wants are not asked again, and are lost
    // whenever `tracing::enabled!`, which sqlx uses, has left its answer behind
    // (tokio-rs/tracing#2519).
    let is_ours = filter::dynamic_filter_fn(|metadata, _| {
        metadata.is_span() && metadata.target().starts_with("nexus")
    });
    tracing_opentelemetry::layer()
        .with_tracer(global::tracer("nexus"))
        .with_location(false)
        .with_target(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(is_ours.with_max_level_hint(Level::INFO))
}

/// Exports the remaining spans. Blocks for a second at most.
pub fn stop() {
    if let Some(provider) = PROVIDER.get()
        && let Err(error) = provider.shutdown_with_timeout(LAST_EXPORT)
    {
        tracing::debug!(%error, "the last spans are lost");
    }
}

/// The traceparent of the current work; it goes with the jobs that this enqueues.
pub fn current() -> Option<String> {
    Context::map_current(traceparent)
}

/// A future that runs in a separate task but belongs to the current work.
pub fn carried<F: Future>(future: F) -> WithContext<F> {
    future.with_current_context()
}

/// Begins a span that has not been entered yet: as part of the trace in `traceparent` or, if that
/// is not valid, as a new trace. Returns the trace's id, as logs name it, and records it in the
/// span's field `trace_id`.
pub fn begin(span: &Span, traceparent: Option<&str>) -> Option<String> {
    let mut parent = traceparent.map_or_else(Context::new, |text| {
        TraceContextPropagator::new().extract_with_context(&Context::new(), &Traceparent(text))
    });
    // Without a collector a span has the ids of its parent.
    if PROVIDER.get().is_none() && !parent.has_active_span() {
        parent = parent.with_remote_span_context(new_ids());
    }
    // Fails if nothing is traced.
    let _ = span.set_parent(parent);
    let id = trace_id(span);
    span.record("trace_id", id.as_deref().map(field::display));
    id
}

/// The trace that a span belongs to, as logs name it.
pub fn trace_id(span: &Span) -> Option<String> {
    let context = span.context();
    let ids = context.span().span_context().clone();
    ids.is_valid().then(|| ids.trace_id().to_string())
}

/// Gives a span, which has [begun](begin), another name.
pub fn rename(span: &Span, name: String) {
    span.context().span().update_name(name);
}

/// Marks a span as failed, for this reason.
pub fn failed(span: &Span, why: &str) {
    span.set_status(Status::error(why.to_owned()));
}

fn traceparent(context: &Context) -> Option<String> {
    let span = context.span();
    let ids = span.span_context();
    let sampled = u8::from(ids.is_sampled());
    ids.is_valid().then(|| format!("00-{}-{}-{sampled:02x}", ids.trace_id(), ids.span_id()))
}

/// Ids for a trace that begins here but is not recorded.
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

/// Logs once that spans are lost, and once that they no longer are.
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
    use tracing::{Instrument, subscriber::DefaultGuard};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn traced() -> DefaultGuard {
        tracing::subscriber::set_default(tracing_subscriber::registry().with(layer()))
    }

    fn ids_of(traceparent: Option<&str>) -> String {
        let span = tracing::info_span!("test");
        begin(&span, traceparent);
        span.in_scope(current).unwrap()
    }

    #[test]
    fn a_callers_ids_are_passed_on_and_new_ones_made_for_who_sends_none() {
        let _traced = traced();
        assert_eq!(ids_of(Some(GIVEN)), GIVEN);
        assert_eq!(&ids_of(None)[..3], "00-");
        assert_ne!(ids_of(None), ids_of(None));
    }

    #[test]
    fn what_is_no_traceparent_is_as_good_as_none() {
        let _traced = traced();
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
        let _traced = traced();
        assert_eq!(current(), None);
        let span = tracing::info_span!("test");
        begin(&span, Some(GIVEN));
        let (here, there) = async {
            let there = tokio::spawn(carried(async { current() }));
            (current(), there.await.unwrap())
        }
        .instrument(span)
        .await;
        assert_eq!((here.as_deref(), there.as_deref()), (Some(GIVEN), Some(GIVEN)));
        assert_eq!(current(), None);
    }
}
