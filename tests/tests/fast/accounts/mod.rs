//! Accounts: who may do what, how people log in and stay logged in, what is refused.

mod audit;
mod authorisation;
mod bad_input;
mod breaches;
mod contacts;
mod deliverability;
mod erasure;
mod export;
mod operators;
mod passwords;
mod phones;
mod security;
mod sessions;
mod suspension;
