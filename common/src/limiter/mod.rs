//! Counts uses exactly, across all processes.
//!
//! A budget is a sliding window: a list in Redis of the times of its uses, of which no period ever
//! holds more than the limit. (GCRA, which needs only one number, would let nearly twice as many
//! through in the first period, because its bucket starts full; "5 in 15 minutes" must mean that.)
//! One script looks at all budgets of a request and takes from all or none, by Redis's clock; keys
//! expire by themselves. Requests that come at once share a call of it. A process that dies after
//! taking has taken.
//!
//! While Redis does not answer, each process counts by itself ([`Local`]), starting from zero;
//! Redis takes over again when it answers.

mod local;
pub mod puzzles;
mod window;

use std::{
    fmt::Display,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use redis::Script;
use sha2::{Digest, Sha256};

use self::local::Local;
pub use self::window::Window;
use crate::{
    config::{Limit, RateLimit},
    error::{Error, Result},
    observability::metrics,
    storage::{Cache, groups::Groups},
    types::usage::Usage,
};

static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("take.lua")));

/// The uses that a limit allows one user, address or account.
#[derive(Clone, Debug)]
pub struct Budget {
    limit: Limit,
    rate: RateLimit,
    key: String,
    /// How many uses there are for those who have done work ([`puzzles`]).
    with_work: u32,
}

impl Budget {
    /// The budget of `whose`. Redis gets only a hash of that: it may be an address or a phone
    /// number.
    pub fn new(limit: Limit, rate: RateLimit, whose: impl Display) -> Self {
        let digest = Sha256::digest(whose.to_string());
        let key =
            format!("limit:{}:{}", limit.name(), BASE64_URL_SAFE_NO_PAD.encode(&digest[..16]));
        Budget { limit, rate, key, with_work: rate.count }
    }

    /// The same with so many uses for those who have done work.
    pub fn with_work(self, count: u32) -> Self {
        Budget { with_work: count.max(self.rate.count), ..self }
    }

    /// As it is for somebody who has done work.
    pub fn worked_for(&self) -> Self {
        Budget { rate: RateLimit { count: self.with_work, ..self.rate }, ..self.clone() }
    }

    /// How much of what work can get has been used, in percent; `None` if all of it has, or nothing
    /// can be had that way.
    fn beyond(&self, used: u32) -> Option<u32> {
        let (all, used) = (self.with_work - self.rate.count, used.saturating_sub(self.rate.count));
        (used < all).then(|| (u64::from(used) * 100 / u64::from(all)) as u32)
    }
}

/// Uses that have been taken.
#[derive(Debug)]
pub struct Taken {
    /// Each budget's state now, in the order in which the budgets were passed.
    pub usage: Vec<Usage>,
    budgets: Arc<[Budget]>,
    at: Time,
}

/// The budget that has no room.
#[derive(Debug)]
pub struct Refused {
    pub limit: Limit,
    pub usage: Usage,
    /// How far the caller is beyond what can be had without work, in percent of what can be had
    /// with it; `None` if work does not help.
    pub beyond: Option<u32>,
}

/// What the script says of one request: when, whether the uses were taken, and each budget's state.
type Response = (i64, bool, Vec<Usage>);

/// A time, and its clock.
#[derive(Debug)]
enum Time {
    /// Milliseconds by Redis's clock.
    Redis(i64),
    Here(Instant),
}

/// Takes from budgets. Cheap to clone.
#[derive(Clone)]
pub struct Limiter {
    cache: Cache,
    /// Nothing, while Redis does not answer.
    takes: Groups<Arc<[Budget]>, Option<Response>>,
    local: Arc<Local>,
}

impl Limiter {
    /// A limiter on this Redis.
    pub fn new(cache: Cache) -> Self {
        let (asked, alone) = (cache.clone(), Arc::new(AtomicBool::new(false)));
        let takes = Groups::new(move |requests| {
            let (asked, alone) = (asked.clone(), alone.clone());
            async move {
                let responses = take_together(&asked, &requests).await;
                note_alone(&alone, responses.is_none());
                let responses = responses.unwrap_or_else(|| vec![None; requests.len()]);
                Ok(responses.into_iter().map(Ok).collect())
            }
        });
        Limiter { cache, takes, local: Arc::default() }
    }

    /// Takes one use of each budget, or none: [`Error::RateLimited`] with the budget that takes
    /// longest to have room again.
    pub async fn take(&self, budgets: Vec<Budget>) -> Result<Taken> {
        let refused = match self.try_take(budgets).await? {
            Ok(taken) => return Ok(taken),
            Err(refused) => refused,
        };
        metrics::rate_limited(refused.limit);
        Err(Error::RateLimited(refused.usage))
    }

    /// The same for a caller who may have another budget, or another answer.
    pub async fn try_take(&self, budgets: Vec<Budget>) -> Result<Result<Taken, Refused>> {
        let budgets: Arc<[Budget]> = budgets.into();
        if budgets.is_empty() {
            let at = Time::Here(Instant::now());
            return Ok(Ok(Taken { usage: Vec::new(), budgets, at }));
        }
        // When too many wait, Redis is as good as away.
        let response = self.takes.call(budgets.clone()).await.ok().flatten();
        let (at, taken, usage) = match response {
            Some((at, taken, usage)) => (Time::Redis(at), taken, usage),
            None => {
                let now = Instant::now();
                let (taken, usage) = self.local.take(&budgets, now);
                (Time::Here(now), taken, usage)
            }
        };
        if taken {
            return Ok(Ok(Taken { usage, budgets, at }));
        }
        let refused = budgets.iter().zip(usage).filter(|(_, usage)| usage.remaining() == 0);
        let beyond = refused
            .clone()
            .try_fold(0, |most, (budget, usage)| Some(budget.beyond(usage.used)?.max(most)));
        let (budget, usage) = refused
            .max_by_key(|(_, usage)| usage.until_room)
            .ok_or_else(|| Error::internal("refused by no budget"))?;
        Ok(Err(Refused { limit: budget.limit, usage, beyond }))
    }

    /// Gives the uses of one limit back.
    pub async fn give_back(&self, taken: &Taken, limit: Limit) {
        let budgets = taken.budgets.iter().filter(|budget| budget.limit == limit);
        match taken.at {
            Time::Redis(at) => {
                let mut pipe = redis::pipe();
                for budget in budgets {
                    pipe.lrem(&budget.key, -1, at).ignore();
                }
                self.cache.pipeline::<()>(&pipe).await;
            }
            Time::Here(at) => budgets.for_each(|budget| self.local.give_back(budget, at)),
        }
    }

    /// Forgets all uses of these budgets.
    pub async fn clear(&self, budgets: &[Budget]) {
        let keys: Vec<&str> = budgets.iter().map(|budget| budget.key.as_str()).collect();
        self.cache.command::<()>(&redis::Cmd::del(keys)).await;
        self.local.clear(budgets);
    }
}

/// Says so in the log when it changes whether Redis answers.
fn note_alone(was_alone: &AtomicBool, alone: bool) {
    match (alone, was_alone.swap(alone, Ordering::Relaxed)) {
        (true, false) => {
            tracing::warn!("Redis cannot be asked: this process counts rate limits for itself")
        }
        (false, true) => tracing::info!("Redis counts rate limits again"),
        _ => {}
    }
}

/// Takes for several requests, one after the other; `None` when Redis does not answer.
async fn take_together(cache: &Cache, requests: &[Arc<[Budget]>]) -> Option<Vec<Option<Response>>> {
    let mut call = TAKE.prepare_invoke();
    for budgets in requests {
        call.arg(budgets.len());
        for budget in &**budgets {
            call.key(&budget.key).arg(budget.rate.count).arg(budget.rate.period.as_millis() as u64);
        }
    }
    let (at, numbers) = cache.script::<(i64, Vec<i64>)>(&call).await?;
    let mut numbers = numbers.into_iter();
    let response = |budgets: &Arc<[Budget]>| {
        let taken = numbers.next()? == 1;
        let usage = budgets.iter().map(|budget| {
            let (uses, rest) = (numbers.next()?, numbers.next()?);
            Some(Usage {
                limit: budget.rate.count,
                used: u32::try_from(uses).unwrap_or(u32::MAX),
                until_room: Duration::from_millis(u64::try_from(rest).unwrap_or_default()),
            })
        });
        Some((at, taken, usage.collect::<Option<_>>()?))
    };
    Some(requests.iter().map(response).collect())
}
