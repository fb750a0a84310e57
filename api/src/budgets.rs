//! Who may ask for what, and how often: the budgets of everything that is limited, on one screen.
//! `docs/limits.md` gives the reasons.
//!
//! Budgets counted per account (wrong passwords, wrong codes, codes sent) would let a stranger lock
//! its owner out. So a caller in a network from which the account has logged in before has a
//! separate budget there, which strangers' failures do not touch; all other networks share one.
//! Accounts are counted by the address or number that was typed, whether or not the account exists.

use std::fmt::Display;

use nexus_common::{
    Error, Result,
    accounts::{credentials::Login, login_networks, otp_challenges},
    config::{Limit, RateLimit, RateLimits},
    limiter::{Budget, Limiter, Refused, Taken},
    observability::metrics,
    providers::twilio::Service,
    storage::Cache,
    types::{
        contacts::{Email, Phone},
        ids::UserId,
    },
};
use sqlx::PgPool;

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
    /// Who wants to log in as `login` from `address`.
    pub(crate) async fn find(db: &PgPool, address: ClientIp, login: &Login) -> Result<Self> {
        let mut conn = db.acquire().await?;
        let network = address.to_string();
        let at_home = login_networks::is_own(&mut conn, login, &network, None).await?;
        Ok(Claimant { address, at_home })
    }

    /// The owner of the budget for an account's failures from that network.
    fn whose(self, account: &str) -> String {
        if self.at_home { format!("{account} at {}", self.address) } else { account.to_owned() }
    }
}

/// What a caller can show for itself, and thereby whose wrong guesses it shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// That the phone is its own: it is logged in, or in a network from which its owner was.
    Owner,
    /// That it has asked for a code.
    Asked,
    Nothing,
}

impl Shown {
    const ALL: [Shown; 3] = [Shown::Owner, Shown::Asked, Shown::Nothing];
}

/// A caller with a code.
pub(crate) struct Guesser {
    pub(crate) address: ClientIp,
    pub(crate) shown: Shown,
    /// Whose wrong guesses these are: a challenge, or a network.
    pub(crate) whose: String,
}

/// Wrong codes for one phone by all callers who can show as much; Twilio checks five in all, and
/// forgets that after ten minutes (docs/providers.md#twilio).
fn checks(service: Service, phone: &Phone, shown: Shown) -> Budget {
    let (count, who) = match shown {
        Shown::Owner => (1, "owner"),
        Shown::Asked => (3, "asked"),
        Shown::Nothing => (1, "nothing"),
    };
    let rate = RateLimit { count, period: otp_challenges::VALID };
    Budget::new(Limit::OtpChecks, rate, format!("{service} {} {who}", phone.as_str()))
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

    /// A new event, of which everybody hears.
    pub(crate) async fn event(&self, organiser: UserId) -> Result<Taken> {
        self.take(vec![self.budget(Limit::Events, organiser)]).await
    }

    /// A code by SMS. Each costs money: no country gets more than its daily cap.
    pub(crate) async fn otp_send(&self, claimant: Claimant, phone: &Phone) -> Result<Taken> {
        let (prefix, cap) = self.rates.otp_caps.of(phone);
        self.take(vec![
            self.budget(Limit::OtpSend, claimant.address),
            self.budget(Limit::OtpSend, claimant.whose(phone.as_str())),
            self.budget(Limit::OtpDay, claimant.whose(phone.as_str())),
            Budget::new(Limit::OtpCountry, cap, prefix),
        ])
        .await
    }

    /// A mail with a link or a code, which anybody can have sent to anybody.
    pub(crate) async fn email_send(&self, claimant: Claimant, email: &Email) -> Result<Taken> {
        self.take(vec![
            self.budget(Limit::EmailSend, claimant.address),
            self.budget(Limit::EmailSend, claimant.whose(email.as_str())),
            self.budget(Limit::EmailDay, claimant.whose(email.as_str())),
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

    /// A code of an operator's authenticator, for who knows the password or has the cookie; given
    /// back unless it is wrong.
    pub(crate) async fn operator_code(&self, claimant: Claimant, user: UserId) -> Result<Taken> {
        let whose = claimant.whose(&format!("operator {user}"));
        self.take(vec![self.budget(Limit::LoginFailures, whose)]).await
    }

    /// A code to compare, which may set another password. The caller gives [`Limit::GUESSES`] back
    /// unless the code is wrong. Who owns the phone has tries that nobody else can use up, and then
    /// those of everyone who has asked for a code. [`Error::OtpAttempts`] when none is left.
    pub(crate) async fn otp_check(
        &self,
        guesser: &Guesser,
        service: Service,
        phone: &Phone,
        resets_password: bool,
    ) -> Result<Taken> {
        let mut budgets = vec![
            self.guesses(service, phone, &guesser.whose),
            self.budget(Limit::OtpFailuresAddress, guesser.address),
        ];
        if resets_password {
            let own = Claimant { address: guesser.address, at_home: guesser.shown == Shown::Owner };
            budgets.push(self.budget(Limit::PasswordReset, own.address));
            budgets.push(self.budget(Limit::PasswordReset, own.whose(phone.as_str())));
        }
        let try_as = async |shown| {
            let mut budgets = budgets.clone();
            budgets.push(checks(service, phone, shown));
            self.try_take(budgets).await
        };
        let mut taken = try_as(guesser.shown).await?;
        if guesser.shown == Shown::Owner
            && taken.as_ref().is_err_and(|refused| refused.limit == Limit::OtpChecks)
        {
            taken = try_as(Shown::Asked).await?;
        }
        taken.map_err(|refused| {
            metrics::rate_limited(refused.limit);
            match refused.limit {
                Limit::OtpFailures | Limit::OtpChecks => Error::OtpAttempts,
                _ => Error::RateLimited(refused.usage),
            }
        })
    }

    /// Forgets the wrong guesses of a code that another one replaces: all that Twilio has counted,
    /// and those of the network that asks for the new one.
    pub(crate) async fn forget_guesses(&self, service: Service, phone: &Phone, address: ClientIp) {
        let mut budgets = Shown::ALL.map(|shown| checks(service, phone, shown)).to_vec();
        budgets.push(self.guesses(service, phone, &address.to_string()));
        self.limiter.clear(&budgets).await;
    }

    /// A question to Razorpay about the payment that a buyer names; only a booking's owner gets so
    /// far. The caller gives [`Limit::ConfirmBooking`] back if the payment is the booking's.
    pub(crate) async fn confirmation(&self, user: UserId) -> Result<Taken> {
        self.take(vec![self.budget(Limit::ConfirmBooking, user)]).await
    }

    /// An export of everything that is held about a user, which may be much.
    pub(crate) async fn account_export(&self, user: UserId) -> Result<Taken> {
        self.take(vec![self.budget(Limit::AccountExport, user)]).await
    }

    /// One caller's wrong codes for a phone.
    fn guesses(&self, service: Service, phone: &Phone, whose: &str) -> Budget {
        let whose = format!("{service} {} {whose}", phone.as_str());
        self.budget(Limit::OtpFailures, whose)
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
        self.limiter.take(self.enforced(budgets)).await
    }

    async fn try_take(&self, budgets: Vec<Budget>) -> Result<Result<Taken, Refused>> {
        self.limiter.try_take(self.enforced(budgets)).await
    }

    fn enforced(&self, budgets: Vec<Budget>) -> Vec<Budget> {
        if self.rates.enforced { budgets } else { Vec::new() }
    }
}
