//! The payments ledger as CSV (RFC 4180), for accountants and their spreadsheets. A row's date is
//! the moment at which it is written, and a past period is exported only once no further row can be
//! dated in it. So the files of consecutive periods have each row exactly once, whenever they are
//! fetched.

use chrono::{DateTime, NaiveDate, SecondsFormat, TimeDelta, Utc};
use sqlx::PgConnection;

use crate::{
    error::{Error, Result},
    types::{csv::text, time::Timestamp},
};

pub const HEADER: &str = "id,created_at,kind,booking_id,booking_reference,order_id,payment_id,amount,currency,reason\r\n";

/// Rows that one query fetches.
const PAGE: i64 = 1_000;

/// The rows from the first moment on, up to but not including the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
}

impl Range {
    /// Reads `from` and `to`: a time, or a day, which `to` includes as a whole. Without them, the
    /// range has no bound.
    pub fn parse(from: Option<&str>, to: Option<&str>) -> Result<Self> {
        let moment = |field: &str, text: Option<&str>, day_after| match text {
            None => Ok(None),
            Some(text) => moment(text, day_after).map(Some).ok_or_else(|| {
                Error::invalid(format!(
                    "{field} must be a day such as 2026-11-25, or a time in RFC 3339"
                ))
            }),
        };
        let from = moment("from", from, 0)?.unwrap_or(DateTime::<Utc>::UNIX_EPOCH);
        let to = moment("to", to, 1)?.unwrap_or_else(Utc::now);
        if to < from {
            Err(Error::invalid("to must not be before from"))
        } else {
            Ok(Range { from, to })
        }
    }
}

fn moment(text: &str, day_after: i64) -> Option<DateTime<Utc>> {
    let Timestamp(time) = Timestamp::parse(text)?;
    let is_day = text.trim().parse::<NaiveDate>().is_ok();
    if is_day { time.checked_add_signed(TimeDelta::days(day_after)) } else { Some(time) }
}

/// A transaction's number: this transaction and all before it must have ended before a period is
/// exported.
#[derive(Clone, Debug)]
pub struct Barrier(String);

/// The transactions that must end before `range` can be exported; `None` when its end is still to
/// come: such an export is a look, not a file to keep.
///
/// A transaction that writes a row has its number before the row has its date (`ledger_time`). So
/// every row dated before now belongs to a number that is given out already, and so is lower than
/// the one given here.
pub async fn barrier(conn: &mut PgConnection, range: Range) -> Result<Option<Barrier>> {
    let own = sqlx::query_scalar!(
        r#"SELECT pg_current_xact_id()::text AS "own!" WHERE $1 <= clock_timestamp()"#,
        range.to,
    )
    .fetch_optional(conn)
    .await?;
    Ok(own.map(Barrier))
}

/// Whether all these transactions have ended.
pub async fn is_past(conn: &mut PgConnection, barrier: &Barrier) -> Result<bool> {
    let past = sqlx::query_scalar!(
        r#"SELECT pg_snapshot_xmin(pg_current_snapshot()) > $1::text::xid8 AS "past!""#,
        barrier.0
    )
    .fetch_one(conn)
    .await?;
    Ok(past)
}

/// Where the next page begins: after the row of this date and id.
#[derive(Clone, Copy, Debug)]
pub struct Place(DateTime<Utc>, i64);

impl Place {
    /// Where the first page begins.
    pub fn first(range: Range) -> Self {
        // Ids are positive: the first row of the period comes after this one.
        Place(range.from, 0)
    }
}

/// The rows after `after`, by date, as lines, and where the next page begins; `None` when there are
/// no more rows.
pub async fn page(
    conn: &mut PgConnection,
    range: Range,
    after: Place,
) -> Result<Option<(String, Place)>> {
    let rows = sqlx::query!(
        r#"SELECT p.id, p.created_at, p.kind, p.booking_id, b.booking_reference AS "reference?", p.order_id, p.payment_id, p.amount_paise, p.currency,
                  -- Each joins one row at most.
                  CASE WHEN p.kind IN ('dispute', 'dispute_reversal') THEN d.reason_code
                       WHEN p.kind <> 'refund' THEN NULL WHEN NOT made.ours THEN 'not_ours' ELSE r.reason END AS reason
           FROM payments p
           LEFT JOIN bookings b ON b.id = p.booking_id
           LEFT JOIN refunds r ON r.payment_id = p.payment_id AND p.kind = 'refund'
           LEFT JOIN disputes d ON d.dispute_id = p.source_id AND p.kind IN ('dispute', 'dispute_reversal')
           LEFT JOIN provider_refunds made ON made.refund_id = p.source_id AND p.kind = 'refund'
           WHERE (p.created_at, p.id) > ($1, $2) AND p.created_at < $3 ORDER BY p.created_at, p.id LIMIT $4"#,
        after.0,
        after.1,
        range.to,
        PAGE,
    )
    .fetch_all(conn)
    .await?;
    let Some(last) = rows.last().map(|row| Place(row.created_at, row.id)) else { return Ok(None) };
    let mut lines = String::with_capacity(rows.len() * 128);
    for row in rows {
        let fields = [
            row.id.to_string(),
            row.created_at.to_rfc3339_opts(SecondsFormat::Millis, true),
            text(&row.kind),
            row.booking_id.map(|id| id.to_string()).unwrap_or_default(),
            text(row.reference.as_deref().unwrap_or_default()),
            text(row.order_id.as_deref().unwrap_or_default()),
            text(&row.payment_id),
            amount(row.amount_paise),
            text(&row.currency),
            text(row.reason.as_deref().unwrap_or_default()),
        ];
        lines.push_str(&fields.join(","));
        lines.push_str("\r\n");
    }
    Ok(Some((lines, last)))
}

/// Rupees with two decimals and their sign. A number, so that a spreadsheet can add it up.
fn amount(paise: i64) -> String {
    let sign = if paise < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", paise.unsigned_abs() / 100, paise.unsigned_abs() % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_numbers_of_rupees() {
        assert_eq!(
            [amount(150_050), amount(-150_050), amount(-7)],
            ["1500.50", "-1500.50", "-0.07"]
        );
    }

    #[test]
    fn a_day_is_meant_as_a_whole() {
        let range = |from: &str, to: &str| Range::parse(Some(from), Some(to));
        let november = range("2026-11-01", "2026-11-30").unwrap();
        assert_eq!(november, range("2026-11-01T00:00:00Z", "2026-12-01T05:30:00+05:30").unwrap());
        assert!(range("2026-11-02", "2026-10-01").is_err());
        assert!(range("yesterday", "2026-10-01").is_err());
    }
}
