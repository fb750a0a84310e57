//! Payments: orders, what Razorpay tells of them, and what that leads to. Nothing here calls
//! Razorpay. What money moved is in the [`ledger`](crate::ledger).

pub mod broadcasts;
pub mod disputes;
pub mod installation;
pub mod ledger_export;
pub mod orders;
pub mod provider_refunds;
pub mod reconciliation;
pub mod refund_notices;
pub mod settlement;
pub mod story;
pub mod webhook_actions;
pub mod webhooks;
