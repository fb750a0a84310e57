//! Who may ask for what, and how often: the budgets of everything that is limited, on one screen.
//! `docs/limits.md` gives the reasons.
//!
//! Budgets counted per account (wrong passwords, wrong codes, codes sent) would let a stranger lock
//! its owner out. So a caller in a network from which the account has logged in before has a
//! separate budget there, which strangers' failures do not touch; all other networks share one.
//! Accounts are counted by the address or number that was typed, whether or not the account exists.
//!
//! What is counted for an address is counted for the networks around it, too. Beyond the budgets of
//! networks, which strangers share, logins, new accounts, codes and mails take work ([`puzzles`]).

use std::fmt::Display;

use nexus_common::{
    Error, Result,
    accounts::{credentials::Login, login_networks, otp_challenges},
    config::{Limit, RateLimit, RateLimits, Tokens},
    door::access::{Keeper, Scanner},
    limiter::{
        Budget, Limiter, Refused, Taken,
        puzzles::{self, Puzzles},
    },
    observability::metrics,
    providers::twilio::Service,
    storage::Cache,
    types::{
        contacts::{Email, Phone},
        ids::{EventId, UserId},
    },
};
use sqlx::PgPool;

use crate::http::{client_ip::ClientIp, solution::Solution};

/// The limits of this process.
pub(crate) struct Budgets {
    rates: RateLimits,
    limiter: Limiter,
    puzzles: Puzzles,
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
    pub(crate) fn new(rates: RateLimits, cache: Cache, tokens: &Tokens) -> Result<Self> {
        Ok(Budgets { rates, limiter: Limiter::new(cache), puzzles: Puzzles::new(tokens)? })
    }

    /// A request without a valid token.
    pub(crate) async fn anonymous(&self, address: ClientIp) -> Result<Taken> {
        self.take(self.of_networks(Limit::Anonymous, address)).await
    }

    /// A request or a command of a user.
    pub(crate) async fn user(&self, user: UserId) -> Result<Taken> {
        self.take(vec![self.budget(Limit::User, user)]).await
    }

    /// A new Socket.IO connection.
    pub(crate) async fn connection(&self, address: ClientIp) -> Result<Taken> {
        self.take(self.of_networks(Limit::Connections, address)).await
    }

    /// Commands over one connection, which counts them itself; `None` when they are not limited.
    pub(crate) fn commands(&self) -> Option<RateLimit> {
        self.rates.enforced.then(|| self.rates.of(Limit::Commands))
    }

    /// A login with a password. The caller gives back [`Limit::RIGHT_LOGIN`] or
    /// [`Limit::WRONG_LOGIN`]: all are taken first, so that simultaneous attempts cannot get around
    /// them.
    pub(crate) async fn login(
        &self,
        claimant: Claimant,
        login: &Login,
        solution: &Solution,
    ) -> Result<Taken> {
        let mut budgets = self.of_networks(Limit::Login, claimant.address);
        budgets.push(self.budget(Limit::Logins, claimant.whose(login.as_str())));
        budgets.push(self.budget(Limit::LoginFailures, claimant.whose(login.as_str())));
        let whose = format!("{} {}", claimant.address, login.as_str());
        self.take_or_work(Limit::Login, whose, budgets, solution).await
    }

    /// A new account.
    pub(crate) async fn registration(
        &self,
        address: ClientIp,
        solution: &Solution,
    ) -> Result<Taken> {
        let budgets = self.of_networks(Limit::Registration, address);
        self.take_or_work(Limit::Registration, address.to_string(), budgets, solution).await
    }

    /// A file of tickets, which takes a core for a while.
    pub(crate) async fn ticket_files(&self, user: UserId) -> Result<Taken> {
        self.take(vec![self.budget(Limit::TicketFiles, user)]).await
    }

    /// An offer of a ticket.
    pub(crate) async fn transfer(&self, user: UserId) -> Result<Taken> {
        self.take(vec![self.budget(Limit::Transfers, user)]).await
    }

    /// A new event, of which everybody hears.
    pub(crate) async fn event(&self, organiser: UserId) -> Result<Taken> {
        self.take(vec![self.budget(Limit::Events, organiser)]).await
    }

    /// A code by SMS. Each costs money: no country gets more than its daily cap, of which a part can
    /// be had without work, and no network more than a tenth. Who is at home is limited by the phone,
    /// and by the cap.
    pub(crate) async fn otp_send(
        &self,
        claimant: Claimant,
        phone: &Phone,
        solution: &Solution,
    ) -> Result<Taken> {
        let (prefix, cap) = self.rates.otp_caps.of(phone);
        let part = u64::from(cap.count) * u64::from(self.rates.otp_free_percent) / 100;
        let free = RateLimit { count: (part as u32).max(1), ..cap };
        let country = Budget::new(Limit::OtpCountry, free, prefix).with_work(cap.count);
        let mut budgets = vec![
            self.budget(Limit::OtpSend, claimant.whose(phone.as_str())),
            self.budget(Limit::OtpDay, claimant.whose(phone.as_str())),
        ];
        if claimant.at_home {
            budgets.push(country.worked_for());
            return self.take(budgets).await;
        }
        let tenth = RateLimit { count: cap.count.div_ceil(10), ..cap };
        let whose = format!("{prefix} {}", claimant.address.widest());
        budgets.extend([country, Budget::new(Limit::OtpNetwork, tenth, whose)]);
        budgets.extend(self.of_networks(Limit::OtpSendAddress, claimant.address));
        let whose = format!("{} {}", claimant.address, phone.as_str());
        self.take_or_work(Limit::OtpSendAddress, whose, budgets, solution).await
    }

    /// A mail with a link or a code, which anybody can have sent to anybody. Who is at home is
    /// limited by the recipient.
    pub(crate) async fn email_send(
        &self,
        claimant: Claimant,
        email: &Email,
        solution: &Solution,
    ) -> Result<Taken> {
        let mut budgets = self.of_recipient(claimant, email);
        if claimant.at_home {
            return self.take(budgets).await;
        }
        budgets.extend(self.of_networks(Limit::EmailSendAddress, claimant.address));
        let whose = format!("{} {}", claimant.address, email.as_str());
        self.take_or_work(Limit::EmailSendAddress, whose, budgets, solution).await
    }

    /// The mail that goes with a new account, whose own budget is the narrower one.
    pub(crate) async fn welcome_mail(&self, claimant: Claimant, email: &Email) -> Result<Taken> {
        let mut budgets = self.of_recipient(claimant, email);
        let networks = self.of_networks(Limit::EmailSendAddress, claimant.address);
        budgets.extend(networks.iter().map(Budget::worked_for));
        self.take(budgets).await
    }

    fn of_recipient(&self, claimant: Claimant, email: &Email) -> Vec<Budget> {
        let whose = claimant.whose(email.as_str());
        vec![self.budget(Limit::EmailSend, &whose), self.budget(Limit::EmailDay, &whose)]
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
        let mut budgets = self.of_networks(Limit::OtpFailuresAddress, guesser.address);
        budgets.push(self.guesses(service, phone, &guesser.whose));
        if resets_password {
            let own = Claimant { address: guesser.address, at_home: guesser.shown == Shown::Owner };
            budgets.extend(self.of_networks(Limit::PasswordResetAddress, own.address));
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

    /// A phone that comes to belong to another account. So nobody has many accounts with one phone
    /// a day, each with limits of its own. Only the transaction that gives it knows whether it does:
    /// for its locks nobody waits but who proves the same phone, and for Redis no longer than a
    /// second.
    pub(crate) async fn phone_owner(&self, phone: &Phone) -> Result<Taken> {
        self.take(vec![self.budget(Limit::PhoneOwners, phone.as_str())]).await
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

    /// A request of a scanner, a device with a door key. All scanners of an event together get as
    /// much as fifty.
    pub(crate) async fn scanner(&self, scanner: Scanner) -> Result<Taken> {
        let all = self.rates.of(Limit::Door).times(50);
        let all = Budget::new(Limit::Door, all, format!("event {}", scanner.event));
        self.take(vec![self.budget(Limit::Door, scanner.key), all]).await
    }

    /// A search for tickets by name, which shows who has some.
    pub(crate) async fn door_search(&self, keeper: Keeper) -> Result<Taken> {
        self.take(self.of_keeper(Limit::DoorSearch, keeper)).await
    }

    /// A whole bundle, which may be long.
    pub(crate) async fn bundle(&self, keeper: Keeper) -> Result<Taken> {
        self.take(self.of_keeper(Limit::DoorBundles, keeper)).await
    }

    /// That of somebody at a door; and for scanners that of their event, ten times as much: each of
    /// these looks at all that the event has sold.
    fn of_keeper(&self, limit: Limit, keeper: Keeper) -> Vec<Budget> {
        match keeper {
            Keeper::Account(user) => vec![self.budget(limit, format!("user {user}"))],
            Keeper::Scanner(Scanner { key, event, .. }) => {
                let all = self.rates.of(limit).times(10);
                let all = Budget::new(limit, all, format!("event {event}"));
                vec![self.budget(limit, format!("key {key}")), all]
            }
        }
    }

    /// An account that an organiser names as staff, who learns whether there is one.
    pub(crate) async fn staff(&self, organiser: UserId) -> Result<Taken> {
        self.take(vec![self.budget(Limit::Staff, organiser)]).await
    }

    /// A place in an event's waiting room. The more join from one network, or from all of them, the
    /// more work one takes. The caller gives [`Limit::WAITING_ROOM`] back if there is none for the
    /// user.
    pub(crate) async fn waiting_room(
        &self,
        event: EventId,
        user: UserId,
        address: ClientIp,
        solution: &Solution,
    ) -> Result<Taken> {
        let demand = self.rates.of(Limit::WaitingRoomDemand);
        let with_work = demand.times(Limit::WaitingRoomDemand.with_work()).count;
        let demand = Budget::new(Limit::WaitingRoomDemand, demand, format!("event {event}"));
        let mut budgets = vec![demand.with_work(with_work)];
        budgets.extend(self.of_networks(Limit::WaitingRoom, address));
        let whose = format!("{event} {user}");
        self.take_or_work(Limit::WaitingRoom, whose, budgets, solution).await
    }

    /// A response that is kept for a day, for when the request is sent again. The caller gives
    /// [`Limit::IdempotencyKeys`] back if none is kept.
    pub(crate) async fn idempotency_key(&self, user: UserId) -> Result<Taken> {
        self.take(vec![self.budget(Limit::IdempotencyKeys, user)]).await
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

    /// Of one limit: that of the address, and those of the networks around it.
    fn of_networks(&self, limit: Limit, address: ClientIp) -> Vec<Budget> {
        let budget = |(network, times)| {
            let rate = self.rates.of(limit).times(times);
            Budget::new(limit, rate, network).with_work(rate.times(limit.with_work()).count)
        };
        address.networks().map(budget).collect()
    }

    /// Takes from all, or none. If only budgets are used up that work gets more of, the caller gets
    /// a puzzle for `whose` asking for what `limit` limits, and more for its solution.
    async fn take_or_work(
        &self,
        limit: Limit,
        whose: String,
        budgets: Vec<Budget>,
        solution: &Solution,
    ) -> Result<Taken> {
        let refused = match self.try_take(budgets.clone()).await? {
            Ok(taken) => return Ok(taken),
            Err(refused) => refused,
        };
        let Some(beyond) = refused.beyond else { return Err(refuse(refused)) };
        let purpose = format!("{} {whose}", limit.name());
        if let Some(solution) = &solution.0 {
            let solved = self.puzzles.solved(solution, &purpose);
            if let Some(solved) = solved.filter(|solved| solved.suffices(beyond)) {
                let once = RateLimit { count: 1, period: puzzles::VALID };
                let mut budgets: Vec<_> = budgets.iter().map(Budget::worked_for).collect();
                budgets.push(Budget::new(Limit::Puzzles, once, solved.id));
                match self.try_take(budgets).await? {
                    Ok(taken) => {
                        metrics::puzzle(limit, "solved");
                        return Ok(taken);
                    }
                    // It has been used.
                    Err(refused) if refused.limit == Limit::Puzzles => {}
                    Err(refused) => return Err(refuse(refused)),
                }
            }
            metrics::puzzle(limit, "refused");
        }
        metrics::puzzle(limit, "given");
        let puzzle = Box::new(self.puzzles.set(&purpose, beyond)?);
        Err(Error::WorkNeeded { usage: refused.usage, puzzle })
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

fn refuse(refused: Refused) -> Error {
    metrics::rate_limited(refused.limit);
    Error::RateLimited(refused.usage)
}
