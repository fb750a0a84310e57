//! Accounts: who may do what, how people log in and stay logged in, what is refused.

mod authorisation;
mod bad_input;
mod breaches;
mod contacts;
mod deliverability;
mod erasure;
mod export;
mod passwords;
mod security;
mod sessions;
