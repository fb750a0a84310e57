//! What must hold after every step of a history, asked with other words than the code itself uses.

use sqlx::FromRow;

use super::shop::Shop;

#[derive(Debug, FromRow)]
struct Books {
    /// Seat types that have sold more than they have, or count wrongly.
    oversold: i64,
    /// Seats whose owner is not the buyer of their booking.
    strangers: i64,
    /// Confirmed bookings without one of their seats, and booked seats without a confirmed booking.
    homeless: i64,
    /// In paise, as all that follow.
    came_in: i64,
    for_seats: i64,
    returned: i64,
    returning: i64,
    /// Taken by banks for disputes that are not decided, of bookings that stand.
    undecided: i64,
    ledger: i64,
}

const BOOKS: &str = "
WITH own AS (SELECT * FROM bookings WHERE event_id = $1),
     held AS (SELECT bs.booking_id, s.*, b.status AS booking_status, b.user_id AS buyer
              FROM own b JOIN booking_seats bs ON bs.booking_id = b.id LEFT JOIN seats s ON s.id = bs.seat_id)
SELECT
    (SELECT count(*) FROM event_seat_types t, LATERAL (SELECT count(*) AS n FROM seats WHERE event_seat_type_id = t.id) taken
     WHERE t.event_id = $1 AND (taken.n > t.quantity OR t.available_quantity <> t.quantity - taken.n)) AS oversold,
    (SELECT count(*) FROM held WHERE id IS NOT NULL AND user_id <> buyer)
        + (SELECT count(*) FROM (SELECT id FROM held WHERE id IS NOT NULL GROUP BY id HAVING count(*) > 1) shared) AS strangers,
    (SELECT count(*) FROM held WHERE booking_status = 'confirmed' AND status IS DISTINCT FROM 'booked')
        + (SELECT count(*) FROM held WHERE booking_status <> 'confirmed' AND status = 'booked') AS homeless,
    (SELECT coalesce(sum(amount_paise), 0)::bigint FROM payments WHERE booking_id = ANY ($2) AND kind = 'capture') AS came_in,
    (SELECT coalesce(sum(total_amount * 100), 0)::bigint FROM own WHERE status = 'confirmed')
        - (SELECT coalesce(sum(amount_paise), 0)::bigint FROM payments p JOIN own b ON b.id = p.booking_id
           WHERE b.status = 'confirmed' AND kind = 'sale_reversal') AS for_seats,
    (SELECT coalesce(-sum(amount_paise), 0)::bigint FROM payments WHERE booking_id = ANY ($2) AND kind IN ('refund', 'dispute', 'dispute_reversal')) AS returned,
    (SELECT coalesce(sum(p.amount_paise), 0)::bigint FROM refunds r JOIN payments p ON p.payment_id = r.payment_id
     WHERE r.booking_id = ANY ($2) AND r.status <> 'processed' AND p.kind IN ('capture', 'refund', 'dispute', 'dispute_reversal')) AS returning,
    (SELECT coalesce(sum(d.taken_paise), 0)::bigint FROM disputes d JOIN payments p ON p.payment_id = d.payment_id AND p.kind = 'sale'
     JOIN own b ON b.id = p.booking_id WHERE b.status = 'confirmed' AND d.stage < 3) AS undecided,
    (SELECT coalesce(sum(amount_paise), 0)::bigint FROM payments WHERE booking_id = ANY ($2)) AS ledger";

impl Shop<'_> {
    async fn books(&self) -> Result<Books, String> {
        let bookings: Vec<i32> = self.bookings.iter().map(|(booking, _)| booking.0).collect();
        sqlx::query_as(BOOKS)
            .bind(self.event.0)
            .bind(bookings)
            .fetch_one(&self.world.db)
            .await
            .map_err(|error| error.to_string())
    }

    /// Seats sold are at most the capacity, each has one owner, and money in is money for seats or
    /// on its way back.
    pub(crate) async fn check(&self) -> Result<(), String> {
        let books = self.books().await?;
        let sound = books.oversold == 0
            && books.strangers == 0
            && books.homeless == 0
            && books.came_in + books.undecided
                == books.for_seats + books.returned + books.returning
            && books.ledger == books.returning - books.undecided;
        if sound { Ok(()) } else { Err(format!("{books:?}")) }
    }

    /// Nothing is under way: the ledger is even, and Razorpay has exactly what confirmed bookings
    /// have cost.
    pub(crate) async fn check_rest(&self) -> Result<(), String> {
        let books = self.books().await?;
        let kept = self.razorpay.kept();
        if books.ledger == 0 && books.returning == 0 && kept == books.for_seats {
            Ok(())
        } else {
            Err(format!("Razorpay has {kept}, and our books say {books:?}"))
        }
    }
}
