//! What must hold at the end of every test: nothing oversold, no money kept without a seat, no work
//! forgotten.

use std::time::Duration;

use crate::stack::Stack;
use crate::waiting::{eventually, seen};

const DEADLINE: Duration = Duration::from_secs(20);

/// Each query finds violations.
const FORBIDDEN: [(&str, &str); 9] = [
    (
        "counts are right: available = quantity - seats that are locked or booked, never negative",
        "SELECT t.id, t.quantity, t.available_quantity, count(s.id) AS taken
         FROM event_seat_types t LEFT JOIN seats s ON s.event_seat_type_id = t.id
         GROUP BY t.id HAVING t.available_quantity <> t.quantity - count(s.id) OR t.available_quantity < 0",
    ),
    (
        "a label is given out once per seat type",
        "SELECT event_seat_type_id, seat_label, count(*) FROM seats GROUP BY 1, 2 HAVING count(*) > 1",
    ),
    (
        "a seat belongs to one booking",
        "SELECT seat_id, array_agg(booking_id) AS bookings FROM booking_seats
         WHERE seat_id IS NOT NULL GROUP BY seat_id HAVING count(*) > 1",
    ),
    (
        "a confirmed booking has all its seats, booked and its buyer's",
        "SELECT b.id, bs.seat_label, s.status, s.user_id, b.user_id AS buyer FROM bookings b
         JOIN booking_seats bs ON bs.booking_id = b.id LEFT JOIN seats s ON s.id = bs.seat_id
         WHERE b.status = 'confirmed' AND (s.id IS NULL OR s.status <> 'booked' OR s.user_id <> b.user_id)",
    ),
    (
        "a booked seat belongs to a confirmed booking",
        "SELECT s.id, s.seat_label FROM seats s WHERE s.status = 'booked' AND NOT EXISTS (
             SELECT 1 FROM booking_seats bs JOIN bookings b ON b.id = bs.booking_id
             WHERE bs.seat_id = s.id AND b.status = 'confirmed')",
    ),
    (
        "a cancelled or expired booking holds no seats",
        "SELECT b.id, b.status, bs.seat_label FROM bookings b JOIN booking_seats bs ON bs.booking_id = b.id
         WHERE b.status IN ('cancelled', 'expired') AND bs.seat_id IS NOT NULL",
    ),
    (
        "money that came in became a sale or went back",
        "SELECT booking_id, sum(amount_paise) AS paise, jsonb_agg(to_jsonb(p)) AS movements
         FROM payments p GROUP BY booking_id HAVING sum(amount_paise) <> 0",
    ),
    (
        "a confirmed booking that was paid for has one sale of its total",
        "SELECT b.id, b.total_amount, (SELECT sum(-amount_paise) FROM payments WHERE booking_id = b.id AND kind IN ('sale', 'sale_reversal') AND source_id = '') AS sold
         FROM bookings b WHERE b.status = 'confirmed' AND (b.total_amount * 100)::bigint <>
             coalesce((SELECT sum(-amount_paise) FROM payments WHERE booking_id = b.id AND kind IN ('sale', 'sale_reversal') AND source_id = ''), 0)",
    ),
    ("no job has died", "SELECT id, kind, payload, attempt, errors FROM jobs WHERE state = 'dead'"),
];

/// The sweep, the calls of waiting rooms and the reconciler's look, jobs that never end.
pub const ENDLESS: &str = "kind IN ('sweep_expired', 'call_visitors', 'reconcile_orders')";

/// Jobs of these queues that are to be done. A job that is planned for later and has never failed
/// may stay, and so may one that never ends.
fn unfinished(queues: &[&str]) -> String {
    let queues = queues.join(",");
    // Not now(): PostgreSQL takes it before it looks, so that a job which has been put back in
    // between would seem to wait.
    format!(
        "SELECT id, kind, payload, state, attempt, available_at, errors FROM jobs
         WHERE state IN ('pending', 'queued', 'running') AND NOT {ENDLESS} AND queue = ANY ('{{{queues}}}')
           AND NOT (state = 'pending' AND attempt = 0 AND available_at > clock_timestamp())"
    )
}

impl Stack {
    /// Waits until these queues have nothing left to do.
    pub async fn until_idle(&self, queues: &[&str]) {
        self.until_idle_within(DEADLINE, queues).await;
    }

    /// The same, for tests that have left them much to do.
    pub async fn until_idle_within(&self, deadline: Duration, queues: &[&str]) {
        let unfinished = unfinished(queues);
        eventually("all work is done", deadline, async || {
            let left = self.rows(&unfinished).await;
            seen(left.is_empty(), left)
        })
        .await;
    }

    /// Waits until all work is done, then checks everything that must hold.
    pub async fn assert_invariants(&self) {
        self.assert_invariants_with(&self.queues()).await;
    }

    /// Checks the invariants with workers for these queues only.
    pub async fn assert_invariants_with(&self, queues: &[&str]) {
        let unfinished = unfinished(queues);
        let mut rules = vec![("all work is done", unfinished.as_str())];
        rules.extend(FORBIDDEN);
        if queues.contains(&"bookings") {
            rules.push((
                "a confirmed booking has exactly one ticket per seat",
                "SELECT b.id, seats.n AS seats, tickets.n AS tickets FROM bookings b
                 CROSS JOIN LATERAL (SELECT count(*) AS n FROM booking_seats WHERE booking_id = b.id) seats
                 CROSS JOIN LATERAL (SELECT count(*) AS n FROM tickets WHERE booking_id = b.id AND status <> 'cancelled') tickets
                 WHERE b.status = 'confirmed' AND seats.n <> tickets.n",
            ));
        }
        eventually("the invariants hold", DEADLINE, async || {
            for (rule, query) in &rules {
                let offenders = self.rows(query).await;
                if !offenders.is_empty() {
                    return Err(format!("{rule}, except for {offenders:#?}"));
                }
            }
            Ok(())
        })
        .await;
        // Nexus's own check knows more rules, and has to agree.
        let checked = self.jobs_cli(&["check-books"]).await;
        let found = String::from_utf8_lossy(&checked.stdout);
        assert!(checked.status.success(), "nexus-jobs check-books: {found}");
    }
}
