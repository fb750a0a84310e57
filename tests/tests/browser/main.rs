//! Tests that need a real browser.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests are tests"
)]

mod admin_page;
mod pages;
mod policy;
mod scan_page;
