//! Events: made, moved, cancelled, in trouble.

mod bad_input;
mod cancellation;
mod held;
mod holders_until;
mod reads;
mod texts;
