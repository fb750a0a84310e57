//! `DELETE /auth/me`: the account is erased (`docs/privacy.md`). First what it holds goes back to
//! others, each in a transaction of its own; then one transaction forgets who the user was.

use nexus_common::{
    Error, Result,
    accounts::{
        erasure::{self, Holdings},
        sessions::{self, EndedSessions},
    },
    audit::{self, Action},
    bookings::{
        booking_states::BookingEvent,
        cancellation,
        changes::{self, lock_for_update},
    },
    jobs::wakeups,
    realtime::AfterCommit,
    seats::{
        broadcasts::{self, UnlockReason},
        lock_changes,
    },
    storage::postgres,
    types::{
        ids::{BookingId, UserId},
        seats::SeatKey,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{forget_sessions, lock_own_account, reauthenticate, reauthentication_failures};
use crate::{
    app::App,
    auth::caller::Caller,
    http::{
        api_error::ApiError,
        client_ip::ClientIp,
        fields::{Otp, Verbatim},
    },
    operations::{Endpoint, One},
    spec::operation::Operation,
};

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeleteAccount {
    /// The account's, if it has one.
    #[schema(value_type = Option<String>, max_length = 4096, example = "Corr3ct-horse")]
    password: Option<Verbatim>,
    /// A code that was sent to the account's phone, if that is proved and there is no password.
    current_otp: Option<Otp>,
}

/// The account is erased: nobody can log in to it any more.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccountDeleted {
    message: &'static str,
}

/// How often what the user takes meanwhile is given back.
const ROUNDS: usize = 5;

impl Endpoint for DeleteAccount {
    type Caller = (ClientIp, Caller);
    type Response = One<AccountDeleted>;

    fn spec() -> Operation {
        Operation::private("delete_account", "Delete the own account")
            .description("Erases everything that says whose it was, ends every session, and gives back what is not paid for. Bookings and payments stay in the books, under a number. Refused while there are confirmed bookings, or events of the user's, that are not over.")
            .in_body()
            .failures([Error::AccountHasBookings(1), Error::AccountHasEvents(1)])
            .failures(reauthentication_failures())
    }

    async fn run(
        self,
        app: App,
        (address, caller): (ClientIp, Caller),
    ) -> Result<Self::Response, ApiError> {
        let user = caller.user;
        // Before the code is used up, and before anything is given back.
        erasure::require_over(&mut *app.db.acquire().await?, user).await?;
        reauthenticate(&app, address, user, &self.password, &self.current_otp).await?;
        for _ in 0..ROUNDS {
            let holdings = erasure::holdings(&mut *app.db.acquire().await?, user).await?;
            give_back(&app, user, holdings).await?;
            if let Some(ended) = erase(&app, &caller).await? {
                forget_sessions(&app, user, &ended).await;
                return Ok(One(AccountDeleted { message: "Account deleted" }));
            }
        }
        Err(Error::Collision("the account takes more and more seats".into()).into())
    }
}

/// Erases the account, unless it holds something again.
async fn erase(app: &App, caller: &Caller) -> Result<Option<EndedSessions>> {
    let user = caller.user;
    let mut tx = postgres::begin(&app.db).await?;
    erasure::forget_reasons(&mut tx, user).await?;
    lock_own_account(app, &mut tx, caller).await?;
    // From here on nobody adds a seat or a booking to the account.
    let ended = sessions::end_sessions(&mut tx, user).await?;
    erasure::require_over(&mut tx, user).await?;
    if !erasure::holdings(&mut tx, user).await?.is_empty() {
        return Ok(None);
    }
    erasure::erase(&mut tx, user).await?;
    audit::record(&mut tx, Action::AccountErased, Some(user), user, json!({})).await?;
    tx.commit().await?;
    wakeups::committed();
    Ok(Some(ended))
}

async fn give_back(app: &App, user: UserId, holdings: Holdings) -> Result<()> {
    for booking in holdings.bookings {
        cancel(app, booking).await?;
    }
    for seat in holdings.seats {
        unlock(app, user, &seat).await?;
    }
    Ok(())
}

async fn cancel(app: &App, id: BookingId) -> Result<()> {
    let Some(event) = changes::event(&mut *app.db.acquire().await?, id).await? else {
        return Ok(());
    };
    let _turn = app.turns.turn(event).await?;
    let mut after = AfterCommit::default();
    let mut tx = postgres::begin(&app.db).await?;
    let Some(booking) = lock_for_update(&mut tx, id).await? else { return Ok(()) };
    // Whether its event has started makes no difference to what is not paid for. One that was paid
    // or has expired meanwhile is left as it is; whether it stands in the way, the next look tells.
    let event = BookingEvent::CancelAfterStart;
    match cancellation::carry_out(&mut tx, &booking, event, None, &mut after).await {
        Ok(_) => {}
        Err(Error::CancelTooLate | Error::BookingTimedOut) => return Ok(()),
        Err(error) => return Err(error),
    }
    tx.commit().await?;
    wakeups::committed();
    app.followers.run(after, app.everyone.clone()).await;
    Ok(())
}

async fn unlock(app: &App, user: UserId, seat: &SeatKey) -> Result<()> {
    let _turn = app.turns.turn(seat.event).await?;
    let mut after = AfterCommit::default();
    let mut tx = postgres::begin(&app.db).await?;
    match lock_changes::release(&mut tx, user, seat).await {
        Ok(freed) => broadcasts::freed(&mut after, vec![freed], UnlockReason::Released),
        // It has gone by itself, or into a booking that the next look finds.
        Err(Error::LockNotFound(_) | Error::LockExpired | Error::SeatInBooking(_)) => return Ok(()),
        Err(error) => return Err(error),
    }
    tx.commit().await?;
    app.followers.run(after, app.everyone.clone()).await;
    Ok(())
}
