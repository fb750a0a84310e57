//! Whom scanners that were offline should not have let in.

use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{
    access::Door,
    verdicts::{CheckIn, Conflict, NamedGate, ScannedTicket},
};
use crate::{
    error::Result,
    types::{
        ids::{GateId, ScanId},
        time::Timestamp,
    },
};

/// Somebody whom a scanner that was offline should not have let in.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConflictingCheckIn {
    pub conflict: Conflict,
    pub ticket: ScannedTicket,
    /// That of the scanner that was offline.
    pub check_in: CheckIn,
    /// The one that counts, if there is one.
    pub counted: Option<CheckIn>,
}

/// The newest conflicts of an event, those left out that were undone.
pub async fn list(conn: &mut PgConnection, door: &Door) -> Result<Vec<ConflictingCheckIn>> {
    let rows = sqlx::query!(
        r#"SELECT c.conflict AS "conflict!: Conflict", c.scan_id AS "scan: ScanId", c.scanned_at AS "at: Timestamp", c.by_hand,
                  g.id AS "gate?: GateId", g.name AS "gate_name?",
                  f.scan_id AS "first_scan?: ScanId", f.scanned_at AS "first_at?: Timestamp", f.by_hand AS "first_by_hand?",
                  h.id AS "first_gate?: GateId", h.name AS "first_gate_name?",
                  t.ticket_id, t.seat_label, coalesce(t.seat_type_name, '') AS "seat_type_name!", b.booking_reference, coalesce(bs.holder_name, u.name) AS name
           FROM check_ins c JOIN tickets t ON t.id = c.ticket_id JOIN bookings b ON b.id = t.booking_id JOIN users u ON u.id = coalesce(t.owner_id, b.user_id)
           LEFT JOIN booking_seats bs ON bs.booking_id = b.id AND bs.seat_id = t.seat_id
           LEFT JOIN gates g ON g.id = c.gate_id
           LEFT JOIN check_ins f ON f.ticket_id = c.ticket_id AND f.undone_at IS NULL AND f.conflict IS NULL
           LEFT JOIN gates h ON h.id = f.gate_id
           WHERE c.event_id = $1 AND c.conflict IS NOT NULL AND c.undone_at IS NULL ORDER BY c.received_at DESC LIMIT 500"#,
        door.event as _,
    )
    .fetch_all(conn)
    .await?;
    let named = |gate: Option<GateId>, name: Option<String>| {
        gate.zip(name).map(|(id, name)| NamedGate { id, name })
    };
    let rows = rows.into_iter().map(|row| {
        let first = row.first_scan.zip(row.first_at).zip(row.first_by_hand);
        ConflictingCheckIn {
            conflict: row.conflict,
            ticket: ScannedTicket {
                ticket_id: row.ticket_id,
                seat_label: row.seat_label,
                seat_type_name: row.seat_type_name,
                booking_reference: row.booking_reference,
                holder_name: row.name.filter(|_| !door.is_down),
            },
            check_in: CheckIn {
                scan_id: row.scan,
                at: row.at,
                gate: named(row.gate, row.gate_name),
                by_hand: row.by_hand,
            },
            counted: first.map(|((scan_id, at), by_hand)| CheckIn {
                scan_id,
                at,
                gate: named(row.first_gate, row.first_gate_name),
                by_hand,
            }),
        }
    });
    Ok(rows.collect())
}
