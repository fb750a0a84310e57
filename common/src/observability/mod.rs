//! What operators see of a process: logs, metrics, traces.

mod logs;
pub mod metrics;
pub mod traces;

use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};

use crate::{config::Observability, error::Result};

/// Starts logs and traces of the process `name`; then logs the warnings about its settings.
pub fn start(name: &'static str, settings: &Observability, warnings: &[String]) -> Result<()> {
    if settings.traces {
        traces::export(name)?;
    }
    let layers = tracing_subscriber::registry().with(traces::layer()).with(logs::layer(settings));
    // A second call (in a test) keeps the first subscriber.
    let _ = layers.try_init();
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok(())
}
