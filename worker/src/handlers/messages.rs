//! Sending what buyers are told of bookings, within the limits of `docs/limits.md`: so many to one
//! phone or address, for one account, and by SMS to one country a day. Whoever locks, books and
//! cancels in a circle fills nobody's mailbox, and costs no more than that. Mails about accounts
//! have the limits of the requests that lead to them.

use std::time::Duration;

use nexus_common::{
    config::{Limit, RateLimits},
    limiter::{Budget, Limiter, Taken},
    observability::metrics,
    providers::{
        CallError,
        smtp::{Email, Smtp},
        twilio::Twilio,
    },
    storage::Cache,
    types::{contacts::Phone, ids::UserId},
};

use super::outward;
use crate::JobFailure;

/// What becomes of a message whose recipient, or whose account, has had too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beyond {
    /// It is sent when there is room again.
    Waits,
    /// It is not sent: the account shows the same.
    IsLeftOut,
}

/// The budgets of messages.
pub(super) struct MessageBudgets {
    rates: RateLimits,
    limiter: Limiter,
}

/// Sends a mail. What a server refuses for good, no operator can do anything about; whom it is for
/// can.
pub(super) async fn post(smtp: &Smtp, mail: Email) -> Result<(), JobFailure> {
    smtp.send(mail).await.map_err(|error| match error {
        CallError::Refused { .. } | CallError::Invalid { .. } => {
            metrics::mail_refused();
            JobFailure::Refused(error.to_string())
        }
        error => outward(error),
    })
}

impl MessageBudgets {
    pub(super) fn new(rates: RateLimits, cache: Cache) -> Self {
        MessageBudgets { rates, limiter: Limiter::new(cache) }
    }

    /// Sends a mail to a user, unless it is left out: false. What could not be sent does not count.
    pub(super) async fn mail(
        &self,
        smtp: &Smtp,
        user: UserId,
        mail: Email,
        beyond: Beyond,
    ) -> Result<bool, JobFailure> {
        let budgets = self.own(Limit::Mail, user, &mail.to);
        let Some(taken) = self.take(budgets, beyond).await? else { return Ok(false) };
        let sent = post(smtp, mail).await;
        if sent.is_err() {
            self.give_back(&taken).await;
        }
        sent.map(|()| true)
    }

    /// Sends a mail with an offer to an address that a user has named, unless there were too many. It
    /// does not count for what the address may get about its own bookings, which nobody can use up.
    pub(super) async fn offer(&self, smtp: &Smtp, mail: Email) -> Result<(), JobFailure> {
        let budgets = vec![Budget::new(Limit::Offers, self.rates.of(Limit::Offers), &mail.to)];
        let Some(taken) = self.take(budgets, Beyond::IsLeftOut).await? else { return Ok(()) };
        let sent = post(smtp, mail).await;
        if sent.is_err() {
            self.give_back(&taken).await;
        }
        sent
    }

    /// Sends an SMS to a user, unless it is left out. What could not be sent does not count.
    pub(super) async fn sms(
        &self,
        twilio: &Twilio,
        user: UserId,
        to: &str,
        text: &str,
    ) -> Result<(), JobFailure> {
        let mut budgets = self.own(Limit::Sms, user, to);
        if let Some(phone) = Phone::parse(to) {
            let (prefix, cap) = self.rates.sms_caps.of(&phone);
            budgets.push(Budget::new(Limit::SmsCountry, cap, prefix));
        }
        let Some(taken) = self.take(budgets, Beyond::IsLeftOut).await? else { return Ok(()) };
        let sent = twilio.send_sms(to, text).await;
        if sent.is_err() {
            self.give_back(&taken).await;
        }
        sent.map_err(outward)
    }

    fn own(&self, limit: Limit, account: UserId, to: &str) -> Vec<Budget> {
        let budget = |whose: String| Budget::new(limit, self.rates.of(limit), whose);
        vec![budget(to.to_owned()), budget(format!("account {account}"))]
    }

    /// Takes from all of them; `None` if the message is left out.
    async fn take(
        &self,
        budgets: Vec<Budget>,
        beyond: Beyond,
    ) -> Result<Option<Taken>, JobFailure> {
        let budgets = if self.rates.enforced { budgets } else { Vec::new() };
        let refused = match self.limiter.try_take(budgets).await? {
            Ok(taken) => return Ok(Some(taken)),
            Err(refused) => refused,
        };
        metrics::rate_limited(refused.limit);
        // What is due to a whole country is due to its buyers.
        if beyond == Beyond::Waits || refused.limit == Limit::SmsCountry {
            let wait = Duration::from_secs(refused.usage.seconds_until_room());
            return Err(JobFailure::Snooze(wait));
        }
        tracing::info!(limit = refused.limit.name(), "a message is left out: there were too many");
        Ok(None)
    }

    async fn give_back(&self, taken: &Taken) {
        for limit in [Limit::Mail, Limit::Sms, Limit::SmsCountry] {
            self.limiter.give_back(taken, limit).await;
        }
    }
}
