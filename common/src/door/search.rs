//! Looking for a ticket by hand: of somebody whose phone is flat.

use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::access::Door;
use crate::{
    error::{Error, Result},
    types::{
        ids::{GateId, SeatTypeId},
        statuses::TicketStatus,
        time::Timestamp,
    },
};

/// A ticket that somebody at the door may be looking for.
#[derive(Debug, Serialize, ToSchema)]
pub struct FoundTicket {
    /// What a check-in by hand names.
    pub ticket_id: String,
    pub seat_label: String,
    pub seat_type_id: Option<SeatTypeId>,
    pub seat_type_name: String,
    pub booking_reference: String,
    /// As its owner has named them; otherwise its owner's.
    pub holder_name: Option<String>,
    pub status: TicketStatus,
    /// When its holder came in.
    pub checked_in_at: Option<Timestamp>,
    pub gate_id: Option<GateId>,
}

/// No more are shown.
pub const MOST: i64 = 50;

/// What somebody at the door types.
#[derive(Debug, PartialEq, Eq)]
pub struct Query {
    /// The beginning of a reference, or of a ticket's id, which contains it.
    reference: Option<String>,
    /// The last four digits of a phone number, or all of them: whoever could ask for more and more
    /// would find out the rest.
    digits: Option<String>,
    /// A part of a name.
    name: Option<String>,
}

impl Query {
    /// `None` for what would find too many to be of use: a reference begins with `BKG-` and more, of
    /// a phone number there are the last four digits or all, and of a name three characters.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let upper = text.to_uppercase();
        let reference = upper.strip_prefix("TKT-").unwrap_or(&upper);
        if reference.starts_with("BKG-") {
            let is_some = reference.len() > "BKG-2026-".len();
            return is_some.then(|| Query {
                reference: Some(reference.to_owned()),
                digits: None,
                name: None,
            });
        }
        if !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || " +-()".contains(c)) {
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            let pattern = match digits.len() {
                4 => format!("%{digits}"),
                // As people here write them, or with the country.
                10 => format!("+91{digits}"),
                11..=15 => format!("+{digits}"),
                _ => return None,
            };
            return Some(Query { reference: None, digits: Some(pattern), name: None });
        }
        let is_some = text.chars().count() >= 3;
        is_some.then(|| Query { reference: None, digits: None, name: Some(text.to_owned()) })
    }
}

/// Text that LIKE takes as it is.
fn verbatim(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

/// The tickets of an event's confirmed bookings that match.
pub async fn find(conn: &mut PgConnection, door: &Door, query: &Query) -> Result<Vec<FoundTicket>> {
    if door.is_down {
        return Err(Error::EventTakenDown);
    }
    // A reference may be followed by the label of a ticket's id. Whatever the planner thinks of names,
    // it looks at the event's bookings first, and never at those of everybody: hence OFFSET.
    let found = sqlx::query_as!(
        FoundTicket,
        r#"WITH sold AS MATERIALIZED (
               SELECT id, user_id, booking_reference FROM bookings
               WHERE event_id = $1 AND status = 'confirmed'
                 AND ($2::text IS NULL OR starts_with(booking_reference, $2) OR starts_with($2, booking_reference))
           ), found AS MATERIALIZED (
               SELECT t.id FROM sold b
               CROSS JOIN LATERAL (SELECT name, phone FROM users WHERE id = b.user_id OFFSET 0) u
               CROSS JOIN LATERAL (SELECT id, owner_id FROM tickets WHERE booking_id = b.id OFFSET 0) t
               WHERE ($3::text IS NULL OR u.phone LIKE $3) AND ($4::text IS NULL OR u.name ILIKE '%' || $4 || '%') AND t.owner_id IS NULL
               UNION
               SELECT t.id FROM sold b
               CROSS JOIN LATERAL (SELECT id, owner_id FROM tickets WHERE booking_id = b.id AND owner_id IS NOT NULL OFFSET 0) t
               CROSS JOIN LATERAL (SELECT name, phone FROM users WHERE id = t.owner_id OFFSET 0) u
               WHERE ($3::text IS NULL OR u.phone LIKE $3) AND ($4::text IS NULL OR u.name ILIKE '%' || $4 || '%')
               UNION
               SELECT t.id FROM sold b
               CROSS JOIN LATERAL (SELECT seat_id, holder_name FROM booking_seats
                                   WHERE booking_id = b.id AND (holder_name IS NOT NULL OR holder_details IS NOT NULL) OFFSET 0) s
               CROSS JOIN LATERAL (SELECT id FROM tickets WHERE booking_id = b.id AND seat_id = s.seat_id OFFSET 0) t
               WHERE s.holder_name ILIKE '%' || $4 || '%'
           )
           SELECT t.ticket_id, t.seat_label, s.event_seat_type_id AS "seat_type_id?: _", coalesce(t.seat_type_name, '') AS "seat_type_name!",
                  b.booking_reference AS "booking_reference!", coalesce(h.holder_name, u.name) AS holder_name, t.status AS "status: _", c.scanned_at AS "checked_in_at?: _", c.gate_id AS "gate_id?: _"
           FROM found CROSS JOIN LATERAL (SELECT * FROM tickets WHERE id = found.id AND status <> 'cancelled' OFFSET 0) t
           JOIN sold b ON b.id = t.booking_id
           CROSS JOIN LATERAL (SELECT name FROM users WHERE id = coalesce(t.owner_id, b.user_id) OFFSET 0) u
           LEFT JOIN seats s ON s.id = t.seat_id
           LEFT JOIN booking_seats h ON h.booking_id = t.booking_id AND h.seat_id = t.seat_id
           LEFT JOIN check_ins c ON c.ticket_id = t.id AND c.undone_at IS NULL AND c.conflict IS NULL
           WHERE $2::text IS NULL OR starts_with(b.booking_reference, $2) OR starts_with(t.ticket_id, 'TKT-' || $2)
           ORDER BY b.id, t.id LIMIT $5"#,
        door.event as _,
        query.reference,
        query.digits,
        query.name.as_deref().map(verbatim),
        MOST,
    );
    Ok(found.fetch_all(conn).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_a_reference_a_phone_or_a_name() {
        let reference = |text: &str| Query::parse(text).unwrap().reference.unwrap();
        assert_eq!(reference(" bkg-2026-1130 "), "BKG-2026-1130");
        assert_eq!(reference("TKT-BKG-2026-1130-101500-AB12-V1"), "BKG-2026-1130-101500-AB12-V1");
        let digits = |text: &str| Query::parse(text).and_then(|query| query.digits);
        assert_eq!(digits("98-76").as_deref(), Some("%9876"));
        assert_eq!(digits("98123 45678").as_deref(), Some("+919812345678"));
        assert_eq!(digits("+44 7700 900123").as_deref(), Some("+447700900123"));
        assert_eq!((digits("98765"), digits("123")), (None, None));
        assert_eq!(Query::parse("Asha R").unwrap().name.as_deref(), Some("Asha R"));
        for too_little in ["", "  ", "BKG-2026-", "123", "As", "TKT-"] {
            assert_eq!(Query::parse(too_little).and_then(|query| query.digits), None);
        }
        assert_eq!(Query::parse("BKG-2026-"), None);
        assert_eq!(Query::parse("As"), None);
    }

    #[test]
    fn signs_of_like_stand_for_themselves() {
        assert_eq!(verbatim(r"100%_\"), r"100\%\_\\");
    }
}
