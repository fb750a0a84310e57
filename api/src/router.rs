//! Every route of the API, on one screen. Path parameters have the names of the fields in the socket commands' payloads.

use axum::{
    Router,
    routing::{get, post, put},
};

use crate::{
    admin,
    app::App,
    commands::{bookings, events, orders, seats},
    error::Failure,
    routes::{
        self,
        command::{act, act_with_success},
    },
};

/// The routes, without what wraps them (see [`serve`](crate::serve)).
pub(crate) fn routes(app: App) -> Router {
    let auth = Router::new()
        .route("/register", post(routes::auth::register))
        .route("/login", post(routes::auth::login))
        .route("/logout", post(routes::auth::logout))
        .route("/refresh-token", post(routes::auth::refresh))
        .route("/send-otp", post(routes::auth::send_otp))
        .route("/verify-otp", post(routes::auth::verify_otp))
        .route("/check-unique-username", post(routes::auth::check_username))
        .route("/reset-password", post(routes::auth::reset_password))
        .route("/me", get(routes::auth::me))
        .route("/logout-all", post(routes::auth::logout_all));

    let events = Router::new()
        .route("/", get(routes::events::list))
        .route("/create", post(act(events::create)))
        .route("/{eventId}", get(routes::events::get).put(act(events::update)).delete(act(events::delete)))
        .route("/{eventId}/seat-types", get(routes::events::seat_types));

    let seats = Router::new()
        .route("/{eventId}", get(routes::seats::map))
        .route("/{eventId}/locks", post(act(seats::lock_several)))
        .route("/{eventId}/seat-types", post(act(events::create_seat_type)))
        .route(
            "/{eventId}/seat-types/{seatTypeId}",
            put(act(events::update_seat_type)).delete(act(events::delete_seat_type)),
        )
        .route("/{eventId}/seat-types/{seatTypeId}/lock", post(act(seats::lock)).delete(act(seats::unlock)))
        .route("/{eventId}/seat-types/{seatTypeId}/lock/extend", post(act(seats::extend)));

    let bookings = Router::new()
        .route("/create", post(act_with_success(bookings::create)))
        .route("/my-bookings", get(routes::bookings::list))
        .route("/{booking_id}", get(routes::bookings::get))
        .route("/{booking_id}/cancel", post(act_with_success(bookings::cancel)))
        .route("/{booking_id}/tickets", get(routes::bookings::tickets))
        .route("/ticket-status/{job_id}", get(routes::bookings::ticket_status));

    let payments = Router::new()
        .route("/create-order", post(act_with_success(orders::create)))
        .route("/webhook", post(routes::payments::webhook))
        .route("/verify/{order_id}", get(routes::payments::verify));

    let api = Router::new()
        .nest("/auth", auth)
        .nest("/events", events)
        .nest("/seats", seats)
        .nest("/bookings", bookings)
        .nest("/payments", payments);

    Router::new()
        .route("/", get(routes::health::running))
        .route("/health", get(routes::health::health))
        .route("/ready", get(routes::health::ready))
        .nest("/api/v1", api)
        .nest("/admin", admin::routes())
        .fallback(async || Failure::route_not_found())
        .method_not_allowed_fallback(async || Failure::method_not_allowed())
        .with_state(app)
}
