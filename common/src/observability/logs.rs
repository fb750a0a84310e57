//! Logs: JSON in production, readable in development. One line per request and per job attempt, at
//! its end. No line holds a secret, or anything that tells who somebody is; ids do.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::Sight;

/// Starts logging, panics included; then says what somebody should know of the settings.
pub fn init(settings: &Sight, warnings: &[String]) {
    let registry = tracing_subscriber::registry().with(EnvFilter::new(&settings.log_filter));
    // A second call (in a test) keeps the first subscriber.
    let _ = if settings.json_logs {
        registry
            .with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr))
            .try_init()
    } else {
        registry
            .with(
                fmt::layer()
                    .compact()
                    .with_target(false)
                    .with_ansi(std::io::stderr().is_terminal())
                    .with_writer(std::io::stderr),
            )
            .try_init()
    };
    log_panics();
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

/// A panic is a line of the log like any other. Whoever catches it answers the request, or ends the
/// attempt.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string);
        tracing::error!(at, error = panic.payload_as_str().unwrap_or("(no message)"), "panicked");
    }));
}
