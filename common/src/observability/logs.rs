//! Logs: JSON in production, readable in development. One line per request and per job attempt, at
//! its end. No line holds a secret or identifies a person other than by ids.

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::{EnvFilter, Layer, fmt, registry::LookupSpan};

use crate::config::Observability;

/// Writes the log, panics included.
pub(super) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(
    settings: &Observability,
) -> impl Layer<S> {
    let layer = fmt::layer().with_writer(std::io::stderr);
    let layer = if settings.json_logs {
        layer.json().flatten_event(true).boxed()
    } else {
        layer.compact().with_target(false).with_ansi(std::io::stderr().is_terminal()).boxed()
    };
    log_panics();
    layer.with_filter(EnvFilter::new(&settings.log_filter))
}

/// Logs a panic like any other event. The code that catches it answers the request, or ends the
/// attempt.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string);
        tracing::error!(at, error = panic.payload_as_str().unwrap_or("(no message)"), "panicked");
    }));
}
