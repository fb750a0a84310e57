//! Everything that is held about an account, for its owner (`docs/privacy.md`): nothing about anybody
//! else. What may be much is read a page at a time.

use data_encoding::HEXLOWER;
use ed25519_dalek::Signature;
use nexus_ticket_code::Claim;
use serde_json::Value;
use sqlx::PgConnection;

use crate::{
    error::{Error, Result},
    jobs::{
        Job,
        notifications::{EmailCancellation, EmailTickets, SmsCancellation, SmsTickets},
    },
    types::{
        ids::{BookingId, EventId, UserId},
        time::Timestamp,
        time_zone::TimeZone,
    },
};

/// Rows of a page.
const PAGE: usize = 50;

/// What there is to export.
#[derive(Debug)]
pub struct Outline {
    /// What is little: the sections by name, each an object or a list.
    pub sections: Vec<(&'static str, Value)>,
    /// The bookings.
    pub bookings: Vec<BookingId>,
    /// The events that the user organises.
    pub events: Vec<EventId>,
}

impl Outline {
    /// The bookings, a page at a time.
    pub fn booking_pages(&self) -> impl Iterator<Item = Vec<BookingId>> {
        self.bookings.chunks(PAGE).map(<[BookingId]>::to_vec)
    }

    /// The events, a page at a time.
    pub fn event_pages(&self) -> impl Iterator<Item = Vec<EventId>> {
        self.events.chunks(PAGE).map(<[EventId]>::to_vec)
    }
}

/// The account, and everything that belongs to it but bookings and events.
pub async fn outline(conn: &mut PgConnection, user: UserId) -> Result<Outline> {
    // Without the hashes of passwords, tokens and links, which are secrets of ours as well.
    let row = sqlx::query!(
        r#"SELECT jsonb_build_object(
                      'id', u.id, 'username', username, 'name', name, 'email', coalesce(u.email, claimed_email), 'email_verified_at', email_verified_at,
                      'phone', coalesce(phone, claimed_phone), 'phone_verified_at', phone_verified_at, 'address', address, 'city', city,
                      'state', state, 'zip', zip, 'country', country, 'role', role, 'has_password', password IS NOT NULL,
                      'created_at', u.created_at, 'updated_at', updated_at) AS "account!",
                  (SELECT coalesce(jsonb_agg(jsonb_build_object('purpose', purpose, 'email', p.email, 'expires_at', expires_at) ORDER BY purpose), '[]')
                   FROM email_proofs p WHERE p.user_id = u.id) AS "pending_emails!",
                  (SELECT coalesce(jsonb_agg(jsonb_build_object(
                              'id', id, 'created_at', s.created_at, 'last_used_at', last_used_at, 'expires_at', expires_at, 'ended_at', ended_at,
                              'user_agent', user_agent, 'network', network) ORDER BY s.created_at), '[]')
                   FROM sessions s WHERE s.user_id = u.id) AS "sessions!",
                  (SELECT coalesce(jsonb_agg(jsonb_build_object('network', network, 'last_login_at', last_login_at) ORDER BY last_login_at), '[]')
                   FROM login_networks n WHERE n.user_id = u.id) AS "login_networks!",
                  (SELECT coalesce(jsonb_agg(jsonb_build_object('role_before', role_before, 'role_after', role_after, 'changed_at', changed_at) ORDER BY c.id), '[]')
                   FROM role_changes c WHERE c.user_id = u.id) AS "role_changes!",
                  (SELECT coalesce(jsonb_agg(jsonb_build_object(
                              'at', at, 'action', action, 'subject_kind', subject_kind, 'subject', subject, 'by_user', actor IS NOT DISTINCT FROM u.id) ORDER BY l.id), '[]')
                   FROM ((SELECT * FROM audit_log WHERE actor = u.id ORDER BY id DESC LIMIT 1000)
                         UNION (SELECT * FROM audit_log WHERE subject_kind = 'account' AND subject = u.id::text ORDER BY id DESC LIMIT 1000)) l) AS "audit_log!",
                  (SELECT coalesce(jsonb_agg(jsonb_build_object(
                              'event_id', event_id, 'seat_type_id', event_seat_type_id, 'seat_label', seat_label, 'status', s.status,
                              'locked_at', locked_at, 'expires_at', expires_at, 'booked_at', booked_at) ORDER BY s.id), '[]')
                   FROM seats s WHERE s.user_id = u.id) AS "seats!",
                  (SELECT coalesce(jsonb_agg(jsonb_build_object('event_id', event_id, 'added_at', added_at) ORDER BY added_at), '[]')
                   FROM event_staff s WHERE s.user_id = u.id) AS "staff_of!",
                  (SELECT coalesce(jsonb_agg(jsonb_build_object(
                              'event_id', event_id, 'visitor_id', v.id, 'joined_at', joined_at, 'phone', v.phone, 'position', position, 'called_at', called_at,
                              'window_ends_at', window_ends_at, 'ended_at', ended_at) ORDER BY joined_at), '[]')
                   FROM waiting_room_visitors v WHERE v.user_id = u.id) AS "waiting_rooms!",
                  (SELECT coalesce(jsonb_agg(jsonb_build_object(
                              'event_id', event_id, 'count', count, 'first_at', first_at, 'last_at', last_at) ORDER BY first_at), '[]')
                   FROM (SELECT event_id, count(*) AS count, min(scanned_at) AS first_at, max(scanned_at) AS last_at
                         FROM check_ins WHERE check_ins.user_id = u.id GROUP BY event_id) c) AS "scans!",
                  (SELECT coalesce(jsonb_agg(jsonb_build_object(
                              'booking_id', booking_id, 'booking_reference', booking_reference, 'event_name', event_name, 'event_start', event_start, 'event_time_zone', time_zone,
                              'reason', reason, 'kept_at', kept_at) ORDER BY booking_id), '[]')
                   FROM cancellation_notices n WHERE n.user_id = u.id) AS "notices!",
                  (SELECT coalesce(jsonb_agg(jsonb_build_object(
                              'ticket_id', ticket_id, 'booking_id', k.booking_id, 'event_id', e.id, 'event_name', e.name, 'event_start', e.start_date, 'event_time_zone', e.time_zone,
                              'seat_label', k.seat_label, 'seat_type_name', seat_type_name, 'holder_name', holder_name, 'holder_details', holder_details,
                              'code', jsonb_build_object('ticket', k.id, 'nonce', qr_nonce, 'key', qr_key, 'signature', encode(qr_signature, 'hex')), 'status', k.status,
                              'check_ins', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                                                'at', scanned_at, 'gate', g.name, 'undone_at', undone_at) ORDER BY scanned_at), '[]')
                                            FROM check_ins c LEFT JOIN gates g ON g.id = c.gate_id WHERE c.ticket_id = k.id)) ORDER BY k.id), '[]')
                   FROM tickets k JOIN bookings b ON b.id = k.booking_id JOIN events e ON e.id = b.event_id
                   LEFT JOIN booking_seats s ON s.booking_id = b.id AND s.seat_id = k.seat_id WHERE k.owner_id = u.id) AS "received!",
                  (SELECT coalesce(jsonb_agg(jsonb_build_object(
                              'id', x.id, 'ticket_id', k.ticket_id, 'is_own', from_id = u.id, 'status', x.status, 'to_email', to_email,
                              'created_at', x.created_at, 'ended_at', ended_at) ORDER BY x.id), '[]')
                   FROM (SELECT * FROM ticket_transfers WHERE from_id = u.id UNION SELECT * FROM ticket_transfers WHERE to_id = u.id
                         UNION SELECT * FROM ticket_transfers WHERE to_email = u.email AND u.email_verified_at > '-infinity') x
                   JOIN tickets k ON k.id = x.ticket_id) AS "transfers!",
                  (SELECT coalesce(jsonb_agg(jsonb_build_object(
                              'order_id', order_id, 'booking_id', booking_id, 'amount_paise', amount_paise, 'currency', currency, 'created_at', o.created_at,
                              'payments', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                                               'kind', kind, 'payment_id', payment_id, 'amount_paise', p.amount_paise, 'created_at', p.created_at) ORDER BY p.id), '[]')
                                           FROM payments p WHERE p.booking_id = o.booking_id)) ORDER BY o.created_at), '[]')
                   FROM payment_orders o WHERE o.user_id = u.id) AS "orders_of_deleted_bookings!"
           FROM users u WHERE u.id = $1"#,
        user as _,
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or(Error::TokenInvalid)?;
    let bookings = sqlx::query_scalar!(
        r#"SELECT id AS "id: BookingId" FROM bookings WHERE user_id = $1 ORDER BY booked_at DESC, id DESC"#,
        user as _,
    )
    .fetch_all(&mut *conn)
    .await?;
    let events = sqlx::query_scalar!(
        r#"SELECT id AS "id: EventId" FROM events WHERE organizer_id = $1 ORDER BY id"#,
        user as _,
    )
    .fetch_all(conn)
    .await?;
    let mut received = row.received;
    for ticket in received.as_array_mut().into_iter().flatten() {
        ticket["code"] = code(&ticket["event_id"], &ticket["code"]);
        ticket["event_start_local"] = local(ticket);
    }
    let sections = vec![
        ("account", row.account),
        ("pending_emails", row.pending_emails),
        ("sessions", row.sessions),
        ("login_networks", row.login_networks),
        ("role_changes", row.role_changes),
        ("audit_log", row.audit_log),
        ("seats", row.seats),
        ("staff_of", row.staff_of),
        ("waiting_rooms", row.waiting_rooms),
        ("scans", row.scans),
        ("cancellation_notices", row.notices),
        ("received_tickets", received),
        ("transfers", row.transfers),
        ("orders_of_deleted_bookings", row.orders_of_deleted_bookings),
    ];
    Ok(Outline { sections, bookings, events })
}

/// Bookings of the user, with everything about their seats, tickets and money. Webhooks are as
/// Razorpay sent them, for as long as that is kept.
pub async fn bookings(
    conn: &mut PgConnection,
    user: UserId,
    ids: &[BookingId],
) -> Result<Vec<Value>> {
    let messages =
        [EmailTickets::KIND, SmsTickets::KIND, EmailCancellation::KIND, SmsCancellation::KIND];
    let rows = sqlx::query_scalar!(
        r#"SELECT jsonb_build_object(
               'id', b.id, 'booking_reference', booking_reference, 'event_id', event_id, 'event_name', e.name, 'event_start', e.start_date, 'event_time_zone', e.time_zone, 'total_amount', total_amount,
               'status', b.status, 'payment_status', payment_status, 'payment_id', payment_id, 'payment_gateway', payment_gateway,
               'booked_at', booked_at, 'confirmed_at', confirmed_at, 'cancelled_at', cancelled_at, 'cancellation_reason', cancellation_reason,
               'expires_at', expires_at, 'mail_refused_at', mail_refused_at,
               'seats', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                             'seat_type_id', event_seat_type_id, 'seat_label', s.seat_label, 'price_paid', s.price_paid,
                             'holder_name', CASE WHEN k.owner_id IS NULL THEN holder_name END,
                             'holder_details', CASE WHEN k.owner_id IS NULL THEN holder_details END) ORDER BY s.id), '[]')
                         FROM booking_seats s LEFT JOIN tickets k ON k.booking_id = b.id AND k.seat_id = s.seat_id WHERE s.booking_id = b.id),
               'tickets', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                               'ticket_id', ticket_id, 'seat_label', seat_label, 'seat_type_name', seat_type_name, 'price_paid', price_paid,
                               -- A ticket that was transferred is its new owner's, and so are its code and its use.
                               'is_transferred', t.owner_id IS NOT NULL,
                               'qr_code', CASE WHEN t.owner_id IS NULL THEN qr_code END,
                               'code', CASE WHEN t.owner_id IS NULL
                                            THEN jsonb_build_object('ticket', t.id, 'nonce', qr_nonce, 'key', qr_key, 'signature', encode(qr_signature, 'hex')) END,
                               'status', CASE WHEN t.owner_id IS NULL THEN t.status END, 'generated_at', generated_at,
                               'email_sent', CASE WHEN t.owner_id IS NULL THEN email_sent END, 'sms_sent', CASE WHEN t.owner_id IS NULL THEN sms_sent END,
                               'delivered_at', CASE WHEN t.owner_id IS NULL THEN delivered_at END,
                               'check_ins', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                                                 'at', scanned_at, 'gate', g.name, 'undone_at', undone_at) ORDER BY scanned_at), '[]')
                                             FROM check_ins c LEFT JOIN gates g ON g.id = c.gate_id WHERE c.ticket_id = t.id AND t.owner_id IS NULL)) ORDER BY t.id), '[]')
                           FROM tickets t WHERE t.booking_id = b.id),
               'orders', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                              'order_id', order_id, 'amount_paise', amount_paise, 'currency', currency, 'created_at', o.created_at) ORDER BY o.created_at), '[]')
                          FROM payment_orders o WHERE o.booking_id = b.id),
               'payments', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                                'kind', kind, 'payment_id', p.payment_id, 'order_id', order_id, 'amount_paise', amount_paise, 'currency', currency,
                                'created_at', p.created_at) ORDER BY p.id), '[]')
                            FROM payments p WHERE p.booking_id = b.id),
               'refunds', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                               'payment_id', r.payment_id, 'refund_id', refund_id, 'amount_paise', amount_paise, 'currency', currency, 'reason', reason,
                               'status', r.status, 'created_at', r.created_at) ORDER BY r.id), '[]')
                           FROM refunds r WHERE r.booking_id = b.id),
               'provider_refunds', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                                        'refund_id', refund_id, 'payment_id', r.payment_id, 'amount_paise', amount_paise, 'status', r.status,
                                        'created_at', r.created_at) ORDER BY r.created_at), '[]')
                                    FROM provider_refunds r WHERE r.payment_id = ANY (paid.ids)),
               'disputes', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                                'dispute_id', dispute_id, 'payment_id', d.payment_id, 'amount_paise', amount_paise, 'currency', currency, 'status', d.status,
                                'created_at', d.created_at) ORDER BY d.created_at), '[]')
                            FROM disputes d WHERE d.payment_id = ANY (paid.ids)),
               'alerts', (SELECT coalesce(jsonb_agg(jsonb_build_object('reason', reason, 'created_at', a.created_at, 'closed_at', closed_at) ORDER BY a.id), '[]')
                          FROM payment_alerts a WHERE a.booking_id = b.id),
               'webhooks', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                                'event_type', event_type, 'received_at', received_at,
                                'body', CASE WHEN has_body THEN encode(body, 'escape') END) ORDER BY w.id), '[]')
                            FROM webhook_events w WHERE w.payment_id = ANY (paid.ids)),
               'messages_to_send', (SELECT coalesce(jsonb_agg(jsonb_build_object('kind', kind, 'state', j.state, 'created_at', j.created_at) ORDER BY j.created_at), '[]')
                                    FROM open_jobs j WHERE unique_key = ANY (ARRAY(SELECT job_key(kind, b.id) FROM unnest($3::text[]) kind)))
           ) AS "booking!"
           FROM bookings b JOIN events e ON e.id = b.event_id
           CROSS JOIN LATERAL (SELECT ARRAY(SELECT DISTINCT payment_id FROM payments WHERE booking_id = b.id) AS ids) paid
           WHERE b.id = ANY ($2) AND b.user_id = $1
           ORDER BY b.booked_at DESC, b.id DESC"#,
        user as _,
        ids as _,
        &messages.map(str::to_owned),
    );
    let mut bookings = rows.fetch_all(conn).await?;
    for booking in &mut bookings {
        booking["event_start_local"] = local(booking);
        let event = booking["event_id"].clone();
        let tickets = booking["tickets"].as_array_mut();
        for ticket in tickets.into_iter().flatten() {
            ticket["code"] = code(&event, &ticket["code"]);
        }
    }
    Ok(bookings)
}

/// When the event of an exported booking starts, in its time zone.
fn local(booking: &Value) -> Value {
    let start = booking["event_start"].as_str().and_then(Timestamp::parse);
    let zone = booking["event_time_zone"].as_str().and_then(TimeZone::parse);
    start.zip(zone).map(|(start, zone)| zone.moment(start)).into()
}

/// The text in a ticket's QR code, of what `tickets` holds of it.
fn code(event: &Value, stored: &Value) -> Value {
    let number = |value: &Value| i32::try_from(value.as_i64()?).ok();
    let read = || {
        let nonce = stored["nonce"].as_i64()?;
        let claim = Claim { event: number(event)?, ticket: number(&stored["ticket"])?, nonce };
        let signature = HEXLOWER.decode(stored["signature"].as_str()?.as_bytes()).ok()?;
        let key = stored["key"].as_str()?.parse().ok()?;
        Some(claim.signed(key, Signature::from_slice(&signature).ok()?))
    };
    read().into()
}

/// Events that the user organises, without anything about who has booked them.
pub async fn events(conn: &mut PgConnection, user: UserId, ids: &[EventId]) -> Result<Vec<Value>> {
    let rows = sqlx::query_scalar!(
        r#"SELECT to_jsonb(e) || jsonb_build_object(
               'seat_types', (SELECT coalesce(jsonb_agg(to_jsonb(t) ORDER BY t.id), '[]') FROM event_seat_types t WHERE t.event_id = e.id),
               'cancellation', (SELECT to_jsonb(c) FROM event_cancellations c WHERE c.event_id = e.id),
               'gates', (SELECT coalesce(jsonb_agg(to_jsonb(g) ORDER BY g.id), '[]') FROM gates g WHERE g.event_id = e.id),
               'door_keys', (SELECT coalesce(jsonb_agg(to_jsonb(k) - 'hash' ORDER BY k.id), '[]') FROM door_keys k WHERE k.event_id = e.id)
           ) AS "event!"
           FROM events e WHERE e.id = ANY ($2) AND e.organizer_id = $1 ORDER BY e.id"#,
        user as _,
        ids as _,
    );
    Ok(rows.fetch_all(conn).await?)
}
