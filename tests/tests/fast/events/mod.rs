//! Events: made, moved, cancelled, in trouble.

mod bad_input;
mod cancellation;
mod held;
mod reads;
mod texts;
