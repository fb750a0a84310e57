//! Stand-ins for the outside world on one machine, for `make run` and for the tests.
//!
//! - [`postgres`], [`redis`] – private servers under a private directory, on free loopback ports;
//! - [`providers`] – Razorpay, Twilio and an SMTP server, with scripted faults;
//! - [`identity`] – certificates for the servers;
//! - [`random`] – identifiers and secrets;
//! - [`process`] – child processes that never outlive their parent;
//! - [`ports`] – loopback ports that are free and stay reusable;
//! - [`totp`] – an authenticator app;
//! - [`scratch`] – where throwaway files are.
//!
//! Everything here speaks real HTTP, SMTP and SQL to its clients; nothing here knows the code under
//! test.

pub mod identity;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod providers;
pub mod random;
pub mod redis;
pub mod scratch;
pub mod totp;
