//! What operators set, start, watch and are given.

mod configuration;
mod dashboards;
mod deployment;
mod logs;
mod metrics;
mod sandbox_run;
mod supply_chain;
mod tls;
mod traces;
