//! Who comes in with a ticket, as far as its owner has said: a name, and what the organiser asks of
//! everybody. It is a seat's of a booking, so that it can be said before there are tickets.

use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::{
    audit::{self, Action},
    error::{Error, Result},
    events::event::require_organizer,
    types::{
        ids::{BookingId, EventId, SeatId, TicketId, UserId},
        statuses::TicketStatus,
    },
};

/// Whoever comes in with a ticket.
#[derive(Clone, Debug, Default)]
pub struct Holder {
    /// `None`: whoever the ticket belongs to.
    pub name: Option<String>,
    pub details: Option<Details>,
}

impl Holder {
    /// Whether anything is said.
    pub fn is_named(&self) -> bool {
        self.name.is_some() || self.details.is_some()
    }
}

/// What an organiser asks of holders: an object of JSON, in words that the organiser and their
/// clients have agreed on.
#[derive(Clone, Debug)]
pub struct Details(String);

impl Details {
    /// In bytes, as much as a form has.
    pub const LONGEST: usize = 2_000;

    /// `None` if it is too long, has the one character that PostgreSQL cannot store, or a number
    /// with an exponent, which it would write with hundreds of digits.
    pub fn new(object: &Map<String, Value>) -> Option<Self> {
        let text = serde_json::to_string(object).ok()?;
        (text.len() <= Self::LONGEST && object.iter().all(is_plain)).then_some(Details(text))
    }

    pub fn as_json(&self) -> &str {
        &self.0
    }
}

fn is_plain((name, value): (&String, &Value)) -> bool {
    fn is_storable(value: &Value) -> bool {
        match value {
            Value::Null | Value::Bool(_) => true,
            Value::Number(number) => !number.to_string().contains('e'),
            Value::String(text) => !text.contains('\0'),
            Value::Array(values) => values.iter().all(is_storable),
            Value::Object(object) => object.iter().all(is_plain),
        }
    }
    !name.contains('\0') && is_storable(value)
}

/// Says who sits on seats of a booking: each is to be `user`'s, who has booked it or to whom its
/// ticket was transferred. What was said of them before is forgotten.
pub async fn name(
    conn: &mut PgConnection,
    booking: BookingId,
    user: UserId,
    seats: &[(SeatId, Holder)],
) -> Result<()> {
    // Against a transfer, after which they are somebody else's to name.
    let held = sqlx::query_scalar!(
        r#"SELECT least(holders_until, start_date) > clock_timestamp() AS "is_open!" FROM bookings b JOIN events e ON e.id = b.event_id
           WHERE b.id = $1 AND b.status IN ('pending', 'confirmed')
             AND (b.user_id = $2 OR EXISTS (SELECT 1 FROM tickets WHERE booking_id = $1 AND owner_id = $2))
           FOR NO KEY UPDATE OF b"#,
        booking as _,
        user as _,
    );
    match held.fetch_optional(&mut *conn).await? {
        None => return Err(Error::BookingNotFound),
        Some(false) => return Err(Error::HoldersClosed),
        Some(true) => {}
    }
    let ids: Vec<SeatId> = seats.iter().map(|(seat, _)| *seat).collect();
    let names: Vec<Option<&str>> = seats.iter().map(|(_, holder)| holder.name.as_deref()).collect();
    let details: Vec<Option<&str>> =
        seats.iter().map(|(_, holder)| holder.details.as_ref().map(Details::as_json)).collect();
    let named = sqlx::query!(
        "UPDATE booking_seats bs SET holder_name = new.name, holder_details = new.details::jsonb
         FROM unnest($3::int[], $4::text[], $5::text[]) AS new (seat_id, name, details)
         WHERE bs.booking_id = $1 AND bs.seat_id = new.seat_id
           AND $2 = coalesce((SELECT owner_id FROM tickets t WHERE t.booking_id = $1 AND t.seat_id = new.seat_id),
                             (SELECT user_id FROM bookings WHERE id = $1))",
        booking as _,
        user as _,
        &ids as _,
        &names as &[Option<&str>],
        &details as &[Option<&str>],
    );
    match named.execute(conn).await?.rows_affected() == seats.len() as u64 {
        true => Ok(()),
        false => Err(Error::SeatsNotYours),
    }
}

/// A ticket and who comes in with it, as its event's organiser sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct TicketHolder {
    pub id: TicketId,
    pub ticket_id: String,
    pub seat_label: String,
    pub seat_type_name: String,
    pub booking_reference: String,
    pub status: TicketStatus,
    /// As its owner has named them; otherwise its owner's.
    pub holder_name: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub holder_details: Option<Value>,
    /// For where the next page begins.
    #[serde(skip)]
    booking: BookingId,
}

/// Where a page of holders begins: after this ticket of this booking.
#[derive(Clone, Copy, Debug)]
pub struct After {
    pub booking: BookingId,
    pub ticket: TicketId,
}

/// Rows of a page.
const PAGE: i64 = 500;

/// The holders of an event's tickets, for its organiser, a page at a time, and where the next one
/// begins.
pub async fn list(
    conn: &mut PgConnection,
    event: EventId,
    user: UserId,
    after: Option<After>,
) -> Result<(Vec<TicketHolder>, Option<After>)> {
    let own = require_organizer(conn, event, user, LIST).await?;
    if own.is_down {
        return Err(Error::EventTakenDown);
    }
    let (booking, ticket) = after.map_or((0, 0), |after| (after.booking.0, after.ticket.0));
    let bookings = sqlx::query_scalar!(
        r#"WITH of_event AS MATERIALIZED (SELECT id FROM bookings WHERE event_id = $1 AND status = 'confirmed' AND id >= $2)
           SELECT id AS "id!: BookingId" FROM of_event ORDER BY id LIMIT $3"#,
        event as _,
        booking,
        PAGE,
    );
    let bookings = bookings.fetch_all(&mut *conn).await?;
    let page = sqlx::query_as!(
        TicketHolder,
        r#"SELECT t.id AS "id: _", t.ticket_id, t.seat_label, coalesce(t.seat_type_name, '') AS "seat_type_name!", b.booking_reference,
                  t.status AS "status: _", coalesce(s.holder_name, u.name) AS holder_name, s.holder_details, b.id AS "booking: _"
           FROM tickets t JOIN bookings b ON b.id = t.booking_id LEFT JOIN booking_seats s ON s.booking_id = b.id AND s.seat_id = t.seat_id
           JOIN users u ON u.id = coalesce(t.owner_id, b.user_id)
           WHERE t.booking_id = ANY ($1) AND t.status <> 'cancelled' AND (b.id > $2 OR t.id > $3)
           ORDER BY b.id, t.id LIMIT $4"#,
        &bookings as _,
        booking,
        ticket,
        PAGE,
    );
    let page = page.fetch_all(&mut *conn).await?;
    audit::looked(conn, Action::HoldersListed, user, event).await?;
    let full = PAGE as usize;
    let next = match (page.last(), bookings.last()) {
        (Some(last), _) if page.len() == full => {
            Some(After { booking: last.booking, ticket: last.id })
        }
        // Some of these have no tickets yet, or none any more.
        (_, Some(last)) if bookings.len() == full => {
            Some(After { booking: *last, ticket: TicketId(i32::MAX) })
        }
        _ => None,
    };
    Ok((page, next))
}

/// What only an organiser may do.
pub const LIST: &str = "see who comes to this event";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn details_are_of_the_size_of_a_form() {
        let details = |value: Value| Details::new(value.as_object().unwrap());
        assert_eq!(details(json!({"meal": "veg"})).unwrap().as_json(), r#"{"meal":"veg"}"#);
        assert!(details(json!({"a": "x".repeat(1_992)})).is_some());
        assert!(details(json!({"a": "x".repeat(1_993)})).is_none());
        assert!(details(json!({"a": "\0"})).is_none());
        assert!(details(json!({"\0": 1})).is_none());
        assert!(details(json!({"a": [1.5, u64::MAX, "\\u0000", "1e308"]})).is_some());
        assert!(details(json!({"a": [{"b": 1e308}]})).is_none());
        assert!(details(json!({"a": 1e-300})).is_none());
    }
}
