//! Measures Nexus side by side with others, on servers of its own, and writes `bench/REPORT.md`.
//!
//! - [`servers`] – PostgreSQL and Redis as in production, shared by all systems that are measured
//! - [`shop`] – what buyers do: Nexus beside a shop in Node
//! - [`jobs`] – the jobs that do nothing
//! - [`hub`] – the line between the driver and the processes that it measures
//! - [`contenders`] – the job systems that are measured: Nexus, graphile-worker, BullMQ
//! - [`crowd`] – tens of thousands of Socket.IO clients
//! - [`limits`] – what PostgreSQL, Redis and axum can do at most
//! - [`release`] – the binaries of a release
//! - [`costs`] – what the steps of a sale cost; [`counting_line`], which counts for it
//! - [`open_loop`] – requests that come however late the answers are; [`curves`], which show it
//! - [`slow_line`] – round trips as they are between machines
//! - [`measures`] – what is measured of jobs, and under stress
//! - [`cpu`], [`host_info`] – where the processors' time goes meanwhile, and what is measured on
//! - [`samples`], [`comparison`], [`results`], [`report`] – medians, goals, tables, and the text

pub mod comparison;
pub mod contenders;
pub mod costs;
pub mod counting_line;
pub mod cpu;
pub mod crowd;
pub mod curves;
pub mod host_info;
pub mod hub;
pub mod jobs;
pub mod limits;
pub mod measures;
pub mod open_loop;
pub mod release;
pub mod report;
pub mod results;
pub mod samples;
pub mod servers;
pub mod shop;
pub mod slow_line;
