//! The servers and the stand-ins themselves.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod money_back;
mod providers;
mod razorpay_lists;
mod servers;
