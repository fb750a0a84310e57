//! Accounts: users, how they log in, their sessions and roles.

pub mod credentials;
pub mod email_proofs;
pub mod erasure;
pub mod export;
pub mod hints;
pub mod login_networks;
pub mod operators;
pub mod otp_challenges;
pub mod passwords;
pub mod phone_proofs;
pub mod roles;
pub mod sessions;
pub mod suspension;
pub mod tokens;
pub mod totp;
pub mod users;
