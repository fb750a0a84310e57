//! Measures the job system side by side with others, on servers of its own, and writes
//! `bench/REPORT.md`.
//!
//! - [`servers`] – PostgreSQL and Redis as in production, shared by all systems that are measured
//! - [`jobs`] – the jobs that do nothing
//! - [`hub`] – the line between the driver and the processes that it measures
//! - [`contenders`] – the systems that are measured: Nexus, graphile-worker, BullMQ
//! - [`release`], [`site`] – the binaries of a release; its processes with buyers, as in production
//! - [`slow_line`] – round trips as they are between machines
//! - [`measures`] – what is measured
//! - [`cpu`], [`host_info`] – where the processors' time goes meanwhile, and what is measured on
//! - [`samples`], [`results`], [`report`] – medians, tables, and the text

pub mod contenders;
pub mod cpu;
pub mod host_info;
pub mod hub;
pub mod jobs;
pub mod measures;
pub mod release;
pub mod report;
pub mod results;
pub mod samples;
pub mod servers;
pub mod site;
pub mod slow_line;
