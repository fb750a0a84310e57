//! Payments: orders, what Razorpay tells us of them, and what follows. Nothing here calls Razorpay.
//! The [`ledger`](crate::ledger) has the movements of money.

pub mod broadcasts;
pub mod disputes;
pub mod installation;
pub mod ledger_export;
pub mod orders;
pub mod provider_refunds;
pub mod reconciliation;
pub mod refund_notices;
pub mod sales;
pub mod settlement;
pub mod story;
pub mod webhook_actions;
pub mod webhooks;
