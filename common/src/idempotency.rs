//! Requests that a client may send twice: for a day, the response to the first is also the response
//! to each further one with the same `Idempotency-Key`. A key belongs to one user, one route and
//! one body. (`cancel_booking` has always had separate keys:
//! [`cancellation`](crate::bookings::cancellation).)

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    error::{Error, Result},
    storage::postgres,
    types::ids::UserId,
};

/// A request that should happen once.
#[derive(Clone, Debug)]
pub struct Request {
    pub user: UserId,
    /// Method and path pattern.
    pub route: String,
    pub key: String,
    /// The hash of everything that distinguishes it from other requests.
    pub hash: Vec<u8>,
}

/// The stored response to a request.
#[derive(Clone, Debug)]
pub struct StoredResponse {
    pub status: u16,
    /// The content of the envelope.
    pub body: Value,
}

/// The longest response that is stored, as JSON, in bytes. Those of an event with a description of
/// 20,000 Latin letters, and of a hundred seats, are shorter.
const LONGEST: usize = 32 * 1024;

impl StoredResponse {
    /// The response to a request that was carried out. Of one that is too long only this is kept:
    /// the request, sent again, is not carried out again, and is told so.
    pub fn success(body: &Value) -> Self {
        if is_stored(body) {
            return StoredResponse { status: 200, body: body.clone() };
        }
        let error = Error::ResponseNotKept;
        StoredResponse {
            status: 409,
            body: json!({ "code": error.code(), "message": error.to_string() }),
        }
    }

    /// The response to a request that was refused; `None` for one that is too long. Such a request
    /// has changed nothing, and may be tried again.
    pub fn refusal(status: u16, code: &str, message: &str) -> Option<Self> {
        let body = json!({ "code": code, "message": message });
        is_stored(&body).then_some(StoredResponse { status, body })
    }
}

fn is_stored(body: &Value) -> bool {
    body.to_string().len() <= LONGEST
}

/// What to do about a request.
#[derive(Debug)]
pub enum Begun {
    /// It is new: carry it out.
    First(Reservation),
    /// It was carried out before: send the same response.
    Replay(StoredResponse),
}

/// The right to carry out a request, until its lease runs out.
#[derive(Clone, Debug)]
pub struct Reservation {
    request: Request,
    attempt: Uuid,
}

/// Begins a request. [`Error::IdempotencyKeyReused`] when its key belongs to another request,
/// [`Error::RequestInFlight`] while another call works on it; if that call dies, the next one after
/// `lease` takes over.
pub async fn begin(conn: &mut PgConnection, request: Request, lease: Duration) -> Result<Begun> {
    let attempt = Uuid::now_v7();
    let lease = postgres::interval(lease)?;
    let row = sqlx::query!(
        r#"WITH reserved AS (
               INSERT INTO idempotent_requests AS stored (user_id, route, key, request_hash, attempt, leased_until, expires_at)
               SELECT id, $2, $3, $4, $5, now() + $6::interval, now() + interval '24 hours' FROM users WHERE id = $1
               ON CONFLICT (user_id, route, key) DO UPDATE
                   SET request_hash = $4, attempt = $5, leased_until = now() + $6::interval, status = NULL, answer = NULL,
                       expires_at = now() + interval '24 hours'
                   WHERE stored.expires_at < now()
                      OR (stored.status IS NULL AND stored.leased_until < now() AND stored.request_hash = $4)
               RETURNING attempt
           )
           SELECT TRUE AS "reserved!", NULL::bytea AS request_hash, NULL::smallint AS status, NULL::jsonb AS answer FROM reserved
           UNION ALL
           SELECT FALSE, request_hash, status, answer FROM idempotent_requests
           WHERE user_id = $1 AND route = $2 AND key = $3 AND expires_at >= now() AND NOT EXISTS (SELECT 1 FROM reserved)"#,
        request.user as _,
        request.route,
        request.key,
        request.hash,
        attempt,
        lease,
    )
    .fetch_optional(conn)
    .await?;
    match row {
        Some(row) if row.reserved => Ok(Begun::First(Reservation { request, attempt })),
        Some(row) if row.request_hash.as_ref() != Some(&request.hash) => {
            Err(Error::IdempotencyKeyReused)
        }
        Some(row) => match (row.status, row.answer) {
            (Some(status), Some(body)) => {
                Ok(Begun::Replay(StoredResponse { status: status.unsigned_abs(), body }))
            }
            _ => Err(Error::RequestInFlight),
        },
        // Neither ours nor visible: another transaction has just inserted it, or begun it anew
        // after its day.
        None => Err(Error::RequestInFlight),
    }
}

impl Reservation {
    /// Remembers the response, best in the transaction that does the work. False when another call
    /// has taken over meanwhile: then that transaction must not commit.
    pub async fn complete(
        &self,
        conn: &mut PgConnection,
        response: &StoredResponse,
    ) -> Result<bool> {
        let completed = sqlx::query!(
            "UPDATE idempotent_requests SET status = $5, answer = $6 WHERE user_id = $1 AND route = $2 AND key = $3 AND attempt = $4",
            self.request.user as _,
            self.request.route,
            self.request.key,
            self.attempt,
            i16::try_from(response.status).map_err(Error::internal)?,
            response.body,
        )
        .execute(conn)
        .await?;
        Ok(completed.rows_affected() == 1)
    }

    /// Gives the key back: the request failed in a way that may not recur.
    pub async fn release(&self, conn: &mut PgConnection) -> Result<()> {
        sqlx::query!(
            "DELETE FROM idempotent_requests
             WHERE user_id = $1 AND route = $2 AND key = $3 AND attempt = $4 AND status IS NULL",
            self.request.user as _,
            self.request.route,
            self.request.key,
            self.attempt,
        )
        .execute(conn)
        .await?;
        Ok(())
    }
}
