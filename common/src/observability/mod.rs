//! What operators see of a process: logs, metrics, traces.

pub mod logs;
pub mod metrics;
pub mod traces;
