//! What Nexus is about: types, rules and SQL of accounts, events, seats, bookings, payments and
//! tickets.
//!
//! Verbs take the caller's connection (`seats::free(&mut tx, …)`), so that the caller decides what
//! commits together; nobody opens a second connection inside one. Broadcasts and cache changes are
//! collected while a transaction runs and sent by the caller after its commit.

pub mod after_commit;
pub mod alerts;
pub mod arguments;
pub mod auth;
pub mod booking_cancellation;
pub mod booking_changes;
pub mod booking_confirmation;
pub mod booking_sale;
pub mod booking_states;
pub mod booking_views;
pub mod bookings;
pub mod books;
pub mod cancellation_notices;
pub mod credentials;
pub mod deadlines;
pub mod disputes;
pub mod event_cancellation;
pub mod event_input;
pub mod event_removal;
pub mod event_turns;
pub mod event_views;
pub mod events;
pub mod idempotency;
pub mod ids;
pub mod input;
pub mod installation;
pub mod ledger_export;
pub mod login_networks;
pub mod money;
pub mod news;
pub mod passwords;
pub mod payment_orders;
pub mod payment_states;
pub mod payment_story;
pub mod payment_webhooks;
pub mod payments;
pub mod reconciliation;
pub mod refund_news;
pub mod refund_notices;
pub mod refunds;
pub mod roles;
pub mod schemas;
pub mod seat_lock_changes;
mod seat_lock_groups;
mod seat_lock_queues;
pub mod seat_locks;
pub mod seat_map;
pub mod seat_selection;
pub mod seat_types;
pub mod seats;
pub mod ticket_codes;
pub mod ticket_reissue;
pub mod tickets;
pub mod time;
pub mod tokens;
pub mod upkeep;
pub mod webhooks;
