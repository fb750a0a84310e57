//! What an account may hold without paying for it, so that nobody keeps seats from others that they
//! do not buy (docs/limits.md#unpaid-seats).
//!
//! Each seat that is [freed](super::freeing) unpaid leaves a row behind for a day, and a lock looks
//! at its user's. [`lock_groups`](super::lock_groups) reads them with all other facts.

use std::time::Duration;

use sqlx::PgConnection;

use crate::{
    config::{Limit, Unpaid},
    error::{Error, Result},
    observability::metrics,
    types::{
        ids::{BookingId, UserId},
        usage::Usage,
    },
};

/// How seats come to be free again that nobody has paid for.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// Their holder has given back locks.
    Released,
    /// Their locks have run out, or their booking was cancelled by its buyer, or not paid in time.
    Unpaid,
    /// It was not their holder's doing.
    Excused,
}

/// What an account holds, and has held in the last day, without paying for it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Account {
    /// Counts the transactions that have locked seats for it.
    pub(super) version: i64,
    /// Seats that it holds now, of all events.
    pub(super) seats: i64,
    /// How long it has held seats, those of now too: each seat's time.
    pub(super) seat_seconds: i64,
    /// How long until enough of that is a day old.
    pub(super) until_room: i64,
    /// Bookings and locks that have ended.
    pub(super) endings: i64,
    /// How long ago the last of them did, in seconds.
    pub(super) since_ending: i64,
}

/// The first cool-down, and the longest: each is twice the one before.
const SHORTEST: i64 = 60;
const LONGEST: i64 = 60 * 60;

impl Account {
    /// Whether it may lock seats now.
    pub(super) fn require_calm(&self, limits: Unpaid, is_spent: bool) -> Result<()> {
        let usage = |limit: u32, used: i64, seconds: i64| Usage {
            limit,
            used: u32::try_from(used).unwrap_or(u32::MAX),
            until_room: Duration::from_secs(seconds.try_into().unwrap_or_default()),
        };
        let left = cool_down(self.endings - i64::from(limits.endings)) - self.since_ending;
        if left > 0 {
            return Err(Error::CoolingDown(usage(limits.endings, self.endings, left)));
        }
        let (minutes, most) = (self.seat_seconds / 60, limits.seat_minutes_of(is_spent));
        if minutes >= i64::from(most) {
            let left = self.until_room.max(SHORTEST);
            return Err(Error::UnpaidSeatTime(usage(most, minutes, left)));
        }
        Ok(())
    }

    /// Counts `more` seats of an event that lets everybody have `most` of its own.
    pub(super) fn hold(
        &mut self,
        more: i64,
        most: i32,
        limits: Unpaid,
        is_spent: bool,
    ) -> Result<()> {
        let most = limits.seats_of(is_spent, most.try_into().unwrap_or_default());
        if self.seats + more > i64::from(most) {
            return Err(Error::UnpaidSeats(most));
        }
        self.seats += more;
        Ok(())
    }
}

/// How long no seats are locked after the last ending, of which so many are too many.
fn cool_down(excess: i64) -> i64 {
    match u32::try_from(excess) {
        Ok(excess @ 1..=6) => SHORTEST << (excess - 1),
        Ok(7..) => LONGEST,
        _ => 0,
    }
}

/// Counts a refusal, of somebody in a network that may have spent what it has.
pub(super) fn note(error: &Error, is_spent: bool) {
    metrics::rate_limited(match error {
        Error::UnpaidSeats(_) | Error::UnpaidSeatTime(_) if is_spent => Limit::UnpaidNetworkMinutes,
        Error::UnpaidSeats(_) => Limit::UnpaidSeats,
        Error::UnpaidSeatTime(_) => Limit::UnpaidSeatMinutes,
        Error::CoolingDown(_) => Limit::UnpaidEndings,
        _ => return,
    });
}

/// Makes this transaction the only one that locks or books seats for these users.
pub(crate) async fn lock_accounts(conn: &mut PgConnection, users: &[UserId]) -> Result<()> {
    // In the same order as everybody else. Who has no account gets no seat, either.
    sqlx::query!(
        "INSERT INTO seat_holders AS holder (user_id)
         SELECT id FROM users WHERE id = ANY ($1) ORDER BY id
         ON CONFLICT (user_id) DO UPDATE SET version = holder.version",
        users as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets a booking that has ended unpaid and is paid after all.
pub(crate) async fn forgive(
    conn: &mut PgConnection,
    user: UserId,
    booking: BookingId,
) -> Result<()> {
    sqlx::query!(
        "DELETE FROM unpaid_holds WHERE user_id = $1 AND booking_id = $2",
        user as _,
        booking as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Unpaid =
        Unpaid { seats: 20, bookings: 5, seat_minutes: 900, endings: 2, network_minutes: 9_000 };

    #[test]
    fn cool_downs_grow_from_a_minute_to_an_hour() {
        let minutes: Vec<i64> = (-1..=9).map(|excess| cool_down(excess) / 60).collect();
        assert_eq!(minutes, [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        let account =
            |endings, since_ending| Account { endings, since_ending, ..Default::default() };
        assert!(account(2, 0).require_calm(LIMITS, false).is_ok());
        assert!(account(4, 120).require_calm(LIMITS, false).is_ok());
        let Err(Error::CoolingDown(usage)) = account(4, 50).require_calm(LIMITS, false) else {
            panic!()
        };
        assert_eq!((usage.limit, usage.used, usage.seconds_until_room()), (2, 4, 70));
    }

    #[test]
    fn an_event_that_lets_everybody_have_more_seats_raises_the_limit_for_its_own() {
        let mut account = Account { seats: 15, ..Default::default() };
        let mut hold = |more, most| account.hold(more, most, LIMITS, false);
        assert!(matches!(hold(6, 10), Err(Error::UnpaidSeats(20))));
        assert!(hold(5, 10).is_ok());
        assert!(matches!(hold(1, 10), Err(Error::UnpaidSeats(20))));
        assert!(hold(30, 50).is_ok());
    }

    #[test]
    fn from_a_spent_network_an_account_holds_six_seats_whatever_the_event_says() {
        let mut account = Account::default();
        let mut hold = |more, most| account.hold(more, most, LIMITS, true);
        assert!(matches!(hold(7, 50), Err(Error::UnpaidSeats(6))));
        assert!(hold(6, 50).is_ok());
        let account = Account { seat_seconds: 90 * 60, ..Default::default() };
        assert!(account.require_calm(LIMITS, false).is_ok());
        assert!(matches!(account.require_calm(LIMITS, true), Err(Error::UnpaidSeatTime(_))));
    }
}
