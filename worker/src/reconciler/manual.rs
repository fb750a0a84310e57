//! `nexus-jobs reconcile`: the daily comparison, when an operator asks for it.

use std::sync::atomic::AtomicU32;

use chrono::{TimeDelta, Utc};
use nexus_common::{
    Error, Result,
    config::{self, Env},
    providers::razorpay::Razorpay,
    realtime::{Coalesced, Emitter},
    seats::counts,
    storage::Cache,
    types::time::Timestamp,
};
use sqlx::PgPool;

use super::{CallRateLimiter, Clients, Mode, Reconciler, Report};

/// What the comparison needs besides the database.
pub struct Settings {
    razorpay: config::Razorpay,
    reconciliation: config::Reconciliation,
    /// With Redis, clients hear at once of what was put right.
    redis: Option<config::Redis>,
}

impl Settings {
    /// Reads the groups.
    pub fn from_env(env: &mut Env) -> Self {
        Settings {
            razorpay: config::Razorpay::from_env(env),
            reconciliation: config::Reconciliation::from_env(env),
            redis: config::Redis::optional(env),
        }
    }
}

/// How long ago: a date, a time, or a number of days, hours, minutes or seconds.
pub fn since(text: &str) -> Result<TimeDelta, String> {
    let unit = text.chars().last().and_then(|unit| match unit {
        'd' => Some(86_400),
        'h' => Some(3_600),
        'm' => Some(60),
        's' => Some(1),
        _ => None,
    });
    let count =
        text.get(..text.len().saturating_sub(1)).and_then(|count| count.parse::<u32>().ok());
    let back = match (unit, count) {
        (Some(seconds), Some(count)) => TimeDelta::try_seconds(i64::from(count) * seconds),
        _ => Timestamp::parse(text).map(|then| Utc::now() - then.0),
    };
    // chrono cannot represent times before its first one.
    back.filter(|back| *back > TimeDelta::zero() && Utc::now().checked_sub_signed(*back).is_some())
        .ok_or_else(|| {
            "give a date or a time that has passed, or how long ago, such as 3d or 12h".into()
        })
}

/// Compares, and treats the differences as `mode` says.
pub async fn reconcile(
    db: &PgPool,
    settings: Settings,
    since: TimeDelta,
    mode: Mode,
) -> Result<Report> {
    let razorpay = Razorpay::new(&settings.razorpay)?;
    let rate = CallRateLimiter::new(settings.reconciliation.per_second);
    let redis = settings
        .redis
        .filter(|_| mode != Mode::DryRun)
        .map(|redis| connect(db, &redis))
        .transpose()?;
    let clients = redis.as_ref().map(|(cache, emitter, seats)| Clients { cache, emitter, seats });
    let reconciler = Reconciler {
        db,
        razorpay: &razorpay,
        rate: &rate,
        clients,
        settings: settings.reconciliation,
        mode,
        unanswered: AtomicU32::default(),
    };
    let mut report = Report::default();
    reconciler.reconcile_days(since.to_std().map_err(Error::internal)?, &mut report).await?;
    Ok(report)
}

fn connect(db: &PgPool, redis: &config::Redis) -> Result<(Cache, Emitter, Coalesced<Emitter>)> {
    let emitter = Emitter::new(redis).map_err(Error::internal)?;
    let cache = Cache::new(redis).map_err(Error::internal)?;
    let seats = counts::updates(db.clone(), redis, emitter.clone()).map_err(Error::internal)?;
    Ok((cache, emitter, seats))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_ago_is_a_duration_or_a_time() {
        assert_eq!(since("3d").unwrap(), TimeDelta::days(3));
        assert_eq!(since("90s").unwrap(), TimeDelta::seconds(90));
        for time in
            ["2020-01-01", "2020-01-01T03:55Z", "2020-01-01T03:55+05:30", "2020-01-01 03:55:10"]
        {
            assert!(since(time).unwrap() > TimeDelta::days(365), "{time}");
        }
        for wrong in ["", "d", "0h", "-1h", "tomorrow", "2999-01-01", "4000000000d", "3ü"] {
            assert!(since(wrong).is_err(), "{wrong:?}");
        }
    }
}
