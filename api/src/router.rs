//! Every route of the API, on one screen, each with its description. Path parameters have the names
//! of the fields in the socket commands' payloads.

use axum::{Router, middleware};

use crate::{
    admin,
    app::App,
    commands::{bookings, events, orders, seats},
    docs::{self, operations as described, routes::Routes},
    error::Failure,
    middleware::rate_limits,
    routes::{
        self,
        command::{act, act_with_success},
    },
};

/// The routes.
pub(crate) fn routes() -> Routes {
    let auth = Routes::new("Auth", "/api/v1/auth")
        .post("/register", routes::auth::register, described::register())
        .post("/login", routes::auth::login, described::login())
        .post("/logout", routes::auth::logout, described::logout())
        .post("/logout-all", routes::auth::logout_all, described::logout_all())
        .post("/refresh-token", routes::auth::refresh, described::refresh_token())
        .post("/send-otp", routes::auth::send_otp, described::send_otp())
        .post("/verify-otp", routes::auth::verify_otp, described::verify_otp())
        .post("/reset-password", routes::auth::reset_password, described::reset_password())
        .post("/check-unique-username", routes::auth::check_username, described::check_username())
        .get("/me", routes::auth::me, described::me());

    let events = Routes::new("Events", "/api/v1/events")
        .get("", routes::events::list, described::list_events())
        .post("/create", act(events::create), described::create_event())
        .get("/{eventId}", routes::events::get, described::get_event())
        .put("/{eventId}", act(events::update), described::update_event())
        .delete("/{eventId}", act(events::delete), described::delete_event())
        .get("/{eventId}/cancellation", routes::events::cancellation, described::get_cancellation())
        .get("/{eventId}/seat-types", routes::events::seat_types, described::list_seat_types());

    let seats = Routes::new("Seats", "/api/v1/seats/{eventId}")
        .get("", routes::seats::map, described::get_seats())
        .post("/locks", act(seats::lock_several), described::lock_seats())
        .post("/seat-types", act(events::create_seat_type), described::create_seat_type())
        .put(
            "/seat-types/{seatTypeId}",
            act(events::update_seat_type),
            described::update_seat_type(),
        )
        .delete(
            "/seat-types/{seatTypeId}",
            act(events::delete_seat_type),
            described::delete_seat_type(),
        )
        .post("/seat-types/{seatTypeId}/lock", act(seats::lock), described::lock_seat())
        .delete("/seat-types/{seatTypeId}/lock", act(seats::unlock), described::unlock_seat())
        .post("/seat-types/{seatTypeId}/lock/extend", act(seats::extend), described::extend_lock());

    let bookings = Routes::new("Bookings", "/api/v1/bookings")
        .post("/create", act_with_success(bookings::create), described::create_booking())
        .get("/my-bookings", routes::bookings::list, described::list_bookings())
        .get("/{booking_id}", routes::bookings::get, described::get_booking())
        .post(
            "/{booking_id}/cancel",
            act_with_success(bookings::cancel),
            described::cancel_booking(),
        )
        .get("/{booking_id}/tickets", routes::bookings::tickets, described::get_tickets())
        .get(
            "/ticket-status/{job_id}",
            routes::bookings::ticket_status,
            described::get_ticket_job(),
        );

    let payments = Routes::new("Payments", "/api/v1/payments")
        .post("/create-order", act_with_success(orders::create), described::create_order())
        .get("/verify/{order_id}", routes::payments::verify, described::verify_payment())
        .post("/webhook", routes::payments::webhook, described::webhook());

    let service = Routes::new("Service", "")
        .get("/", routes::health::running, described::root())
        .get("/health", routes::health::health, described::health())
        .get("/ready", routes::health::ready, described::ready())
        .get("/docs", docs::page, described::docs())
        .get("/openapi.json", docs::openapi, described::openapi())
        .get("/asyncapi.json", docs::asyncapi, described::asyncapi());

    auth.and(events).and(seats).and(bookings).and(payments).and(service)
}

/// What serves them, without what wraps it (see [`serve`](crate::serve)).
pub(crate) fn router(app: App) -> Router {
    routes()
        .router
        .nest("/admin", admin::routes())
        .fallback(async || Failure::route_not_found())
        .method_not_allowed_fallback(async || Failure::method_not_allowed())
        .layer(middleware::from_fn_with_state(app.clone(), rate_limits::requests))
        .with_state(app)
}
