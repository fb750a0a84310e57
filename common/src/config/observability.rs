//! What a process shows of itself: logs, metrics, traces.

use std::net::SocketAddr;

use tracing_subscriber::EnvFilter;

use super::Env;

/// Where operators see a process's logs, metrics and traces.
#[derive(Debug, Clone)]
pub struct Observability {
    /// JSON, one object per line; otherwise readable text.
    pub json_logs: bool,
    /// RUST_LOG: the filter for log lines.
    pub log_filter: String,
    /// METRICS_ADDRESS: where Prometheus finds this process, such as `0.0.0.0:9464`; unset, nothing
    /// is measured.
    pub metrics: Option<SocketAddr>,
    /// Whether there is a collector for traces.
    pub traces: bool,
}

/// What strangers can make these libraries say is no operator's business: socketioxide calls what
/// they send an error of ours.
const LOGGED: &str =
    "info,sqlx=warn,apalis=warn,apalis_redis=warn,apalis_core=off,socketioxide=off";

impl Observability {
    /// Reads the group.
    pub fn from_env(env: &mut Env) -> Self {
        let log_filter = env.get("RUST_LOG").unwrap_or_else(|| LOGGED.to_owned());
        if EnvFilter::builder().parse(&log_filter).is_err() {
            env.problem(
                "RUST_LOG must be a level, or targets and levels such as info,nexus_common=debug",
            );
        }
        Observability {
            json_logs: env.production,
            log_filter,
            metrics: env.optional("METRICS_ADDRESS"),
            traces: has_collector(env),
        }
    }
}

/// OTEL_EXPORTER_OTLP_ENDPOINT, or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: whether there is a collector
/// for traces, unless OTEL_SDK_DISABLED turns them off. The exporter reads these variables again,
/// and its other settings.
fn has_collector(env: &mut Env) -> bool {
    let names = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
    let given = names.map(|name| !env.url(name, Some(""), &["http", "https"]).is_empty());
    let disabled =
        env.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    env.left_to_library(&[
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_SERVICE_NAME",
        "OTEL_RESOURCE_ATTRIBUTES",
        "OTEL_TRACES_SAMPLER",
        "OTEL_TRACES_SAMPLER_ARG",
    ]);
    given.contains(&true) && !disabled
}
