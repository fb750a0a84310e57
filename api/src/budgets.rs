//! Who may ask for what, and how often: the budgets of everything that is limited, on one screen.
//! `docs/limits.md` gives the reasons.
//!
//! Budgets counted per account (wrong passwords, wrong codes, codes sent) would let a stranger lock
//! its owner out. So a caller in a network from which the account has logged in before has a
//! separate budget there, which strangers' failures do not touch; all other networks share one.
//! Accounts are counted by the address or number that was typed, whether or not the account exists.

use std::fmt::Display;

use nexus_common::{
    Result,
    accounts::credentials::Login,
    config::{Limit, RateLimit, RateLimits},
    limiter::{Budget, Limiter, Taken},
    storage::Cache,
    types::{
        contacts::{Email, Phone},
        ids::UserId,
    },
};

use crate::http::client_ip::ClientIp;

/// The limits of this process.
pub(crate) struct Budgets {
    rates: RateLimits,
    limiter: Limiter,
}

/// A caller who claims to own an account.
#[derive(Clone, Copy)]
pub(crate) struct Claimant {
    pub(crate) address: ClientIp,
    /// Whether the account has logged in from the caller's network before.
    pub(crate) at_home: bool,
}

impl Claimant {
    /// The owner of the budget for an account's failures from that network.
    fn whose(self, account: &str) -> String {
        if self.at_home { format!("{account} at {}", self.address) } else { account.to_owned() }
    }
}

impl Budgets {
    pub(crate) fn new(rates: RateLimits, cache: Cache) -> Self {
        Budgets { rates, limiter: Limiter::new(cache) }
    }

    /// A request without a valid token.
    pub(crate) async fn anonymous(&self, address: ClientIp) -> Result<Taken> {
        self.take(vec![self.budget(Limit::Anonymous, address)]).await
    }

    /// A request or a command of a user.
    pub(crate) async fn user(&self, user: UserId) -> Result<Taken> {
        self.take(vec![self.budget(Limit::User, user)]).await
    }

    /// A new Socket.IO connection.
    pub(crate) async fn connection(&self, address: ClientIp) -> Result<Taken> {
        self.take(vec![self.budget(Limit::Connections, address)]).await
    }

    /// Commands over one connection, which counts them itself; `None` when they are not limited.
    pub(crate) fn commands(&self) -> Option<RateLimit> {
        self.rates.enforced.then(|| self.rates.of(Limit::Commands))
    }

    /// A login with a password. The caller gives [`Limit::LoginFailures`] back unless the login
    /// fails: it is taken first, so that simultaneous attempts cannot get around it.
    pub(crate) async fn login(&self, claimant: Claimant, login: &Login) -> Result<Taken> {
        self.take(vec![
            self.budget(Limit::Login, claimant.address),
            self.budget(Limit::LoginFailures, claimant.whose(login.as_str())),
        ])
        .await
    }

    /// A new account.
    pub(crate) async fn registration(&self, address: ClientIp) -> Result<Taken> {
        self.take(vec![self.budget(Limit::Registration, address)]).await
    }

    /// A code by SMS. Each costs money: no country gets more than its daily cap.
    pub(crate) async fn otp_send(&self, claimant: Claimant, phone: &Phone) -> Result<Taken> {
        let (prefix, cap) = self.rates.otp_caps.of(phone);
        self.take(vec![
            self.budget(Limit::OtpSend, claimant.address),
            self.budget(Limit::OtpSend, claimant.whose(phone.as_str())),
            Budget::new(Limit::OtpCountry, cap, prefix),
        ])
        .await
    }

    /// A mail with a link or a code, which anybody can have sent to anybody.
    pub(crate) async fn email_send(&self, claimant: Claimant, email: &Email) -> Result<Taken> {
        self.take(vec![
            self.budget(Limit::EmailSend, claimant.address),
            self.budget(Limit::EmailSend, claimant.whose(email.as_str())),
        ])
        .await
    }

    /// A password to compare with those of accounts that claim a contact. The caller gives it back
    /// unless the password is wrong.
    pub(crate) async fn password_failure(
        &self,
        claimant: Claimant,
        login: &Login,
    ) -> Result<Taken> {
        self.take(vec![self.budget(Limit::LoginFailures, claimant.whose(login.as_str()))]).await
    }

    /// The password of somebody who is logged in, or has a link that was mailed to them; given back
    /// likewise.
    pub(crate) async fn own_password(&self, user: UserId) -> Result<Taken> {
        self.take(vec![self.budget(Limit::LoginFailures, format!("user {user}"))]).await
    }

    /// A code to compare. The caller gives [`Limit::OtpFailures`] and [`Limit::OtpFailuresAddress`]
    /// back unless the code is wrong.
    pub(crate) async fn otp_check(&self, claimant: Claimant, phone: &Phone) -> Result<Taken> {
        self.take(self.otp_failures(claimant, phone).into()).await
    }

    /// A new password for a caller who has the right code; the same limits are given back.
    pub(crate) async fn password_reset(&self, claimant: Claimant, phone: &Phone) -> Result<Taken> {
        let mut budgets = Vec::from(self.otp_failures(claimant, phone));
        budgets.push(self.budget(Limit::PasswordReset, claimant.address));
        budgets.push(self.budget(Limit::PasswordReset, claimant.whose(phone.as_str())));
        self.take(budgets).await
    }

    /// A question to Razorpay about the payment that a buyer names; only a booking's owner gets so
    /// far. The caller gives [`Limit::ConfirmBooking`] back if the payment is the booking's.
    pub(crate) async fn confirmation(&self, user: UserId) -> Result<Taken> {
        self.take(vec![self.budget(Limit::ConfirmBooking, user)]).await
    }

    fn otp_failures(&self, claimant: Claimant, phone: &Phone) -> [Budget; 2] {
        [
            self.budget(Limit::OtpFailures, claimant.whose(phone.as_str())),
            self.budget(Limit::OtpFailuresAddress, claimant.address),
        ]
    }

    /// Gives these limits back, because nothing failed.
    pub(crate) async fn give_back(&self, taken: &Taken, limits: &[Limit]) {
        for limit in limits {
            self.limiter.give_back(taken, *limit).await;
        }
    }

    fn budget(&self, limit: Limit, whose: impl Display) -> Budget {
        Budget::new(limit, self.rates.of(limit), whose)
    }

    async fn take(&self, budgets: Vec<Budget>) -> Result<Taken> {
        let enforced = if self.rates.enforced { budgets } else { Vec::new() };
        self.limiter.take(enforced).await
    }
}
