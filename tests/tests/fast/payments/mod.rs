//! Payments, refunds, disputes, and the books.

mod books;
mod disputes;
mod foreign_orders;
mod odd;
mod orders;
mod outcomes;
mod provider_keys;
mod razorpay_library;
mod reconciliation;
mod refund_notices;
mod story;
mod unpayable_amounts;
mod webhooks;
