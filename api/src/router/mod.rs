//! Every route of the API, on one screen. Path parameters have the names of the payload fields in
//! the socket commands.

mod command;
mod routes;

use axum::{Extension, Router};
use http::Method;

pub(crate) use self::command::REPLAYED;
use self::routes::Routes;
use crate::{
    account_pages, admin,
    app::App,
    http::{
        api_error::ApiError,
        policy::{Envelope, Policies, Policy, Priority},
    },
    operations::{
        accounts::*,
        bookings::*,
        door::*,
        events::*,
        payments::{webhook, *},
        seats::*,
        service::{documents, health},
        tickets::*,
        waiting_rooms::*,
    },
    scan_page,
    spec::{Documents, operation::Route},
};

const PERSONAL: Policy =
    Policy { is_personal: true, ..Policy::API.with(Priority::Buy, Priority::Buy) };
const WITH_SUCCESS: Policy = Policy { envelope: Envelope::Success, ..PERSONAL };
const PAYMENTS: Policy = WITH_SUCCESS.with(Priority::Pay, Priority::Pay);
const AT_DOOR: Policy = PERSONAL.with(Priority::Pay, Priority::Pay);
/// Whoever waits comes after who has been called and wants seats.
const QUEUE: Policy = PERSONAL.with(Priority::Enter, Priority::Enter).entrance();

fn routes() -> Routes {
    use Method as M;
    let auth = Routes::new("Auth", "/api/v1/auth", PERSONAL.entrance())
        .endpoint::<Register>(M::POST, "/register")
        .endpoint::<Login>(M::POST, "/login")
        .endpoint::<Logout>(M::POST, "/logout")
        .endpoint_without_fields::<LogoutAll>(M::POST, "/logout-all")
        .endpoint::<RefreshToken>(M::POST, "/refresh-token")
        .endpoint::<SendOtp>(M::POST, "/send-otp")
        .endpoint::<VerifyOtp>(M::POST, "/verify-otp")
        .endpoint::<ResetPassword>(M::POST, "/reset-password")
        .endpoint::<ForgotPassword>(M::POST, "/forgot-password")
        .endpoint::<RecoverPassword>(M::POST, "/recover-password")
        .endpoint::<VerifyEmail>(M::POST, "/verify-email")
        .endpoint_without_fields::<ResendVerification>(M::POST, "/verify-email/resend")
        .endpoint::<ChangePassword>(M::POST, "/change-password")
        .endpoint::<ChangeEmail>(M::POST, "/change-email")
        .endpoint::<ChangePhone>(M::POST, "/change-phone")
        .endpoint::<CheckUsername>(M::POST, "/check-unique-username")
        .endpoint::<GetMe>(M::GET, "/me")
        .endpoint::<DeleteAccount>(M::DELETE, "/me")
        .endpoint::<ExportAccount>(M::GET, "/me/export")
        .endpoint::<ListSessions>(M::GET, "/sessions")
        .endpoint::<EndSession>(M::DELETE, "/sessions/{session_id}");

    let events = Routes::new("Events", "/api/v1/events", Policy::EVENTS)
        .endpoint::<ListEvents>(M::GET, "")
        .command::<CreateEvent>(M::POST, "/create")
        .endpoint::<GetEvent>(M::GET, "/{eventId}")
        .command::<UpdateEvent>(M::PUT, "/{eventId}")
        .command::<DeleteEvent>(M::DELETE, "/{eventId}")
        .endpoint::<GetCancellation>(M::GET, "/{eventId}/cancellation")
        .endpoint::<ListSeatTypes>(M::GET, "/{eventId}/seat-types");

    let door = Routes::beside("Door", "/api/v1/events/{eventId}", AT_DOOR)
        .endpoint::<GetTicketKeys>(M::GET, "/ticket-keys")
        .endpoint::<ListStaff>(M::GET, "/staff")
        .command::<AddStaff>(M::POST, "/staff")
        .command::<RemoveStaff>(M::DELETE, "/staff/{userId}")
        .endpoint::<ListGates>(M::GET, "/gates")
        .command::<CreateGate>(M::POST, "/gates")
        .command::<UpdateGate>(M::PUT, "/gates/{gateId}")
        .command::<DeleteGate>(M::DELETE, "/gates/{gateId}")
        .endpoint::<ListDoorKeys>(M::GET, "/door-keys")
        .endpoint::<CreateDoorKey>(M::POST, "/door-keys")
        .command::<RevokeDoorKey>(M::DELETE, "/door-keys/{doorKeyId}")
        .endpoint::<CheckInTicket>(M::POST, "/check-ins")
        .endpoint::<UndoCheckIn>(M::DELETE, "/check-ins/{scanId}")
        .endpoint::<UploadCheckIns>(M::POST, "/check-ins/upload")
        .endpoint::<ListConflicts>(M::GET, "/check-ins/conflicts")
        .endpoint::<GetDoor>(M::GET, "/door")
        .endpoint::<GetCheckInCounts>(M::GET, "/check-ins/counts")
        .endpoint::<SearchTickets>(M::GET, "/tickets");

    let waiting_rooms = Routes::beside("Waiting rooms", "/api/v1/events/{eventId}", QUEUE)
        .endpoint::<GetQueue>(M::GET, "/queue")
        .command::<JoinQueue>(M::POST, "/queue")
        .command::<LeaveQueue>(M::DELETE, "/queue")
        .endpoint::<GetDraw>(M::GET, "/queue/draw");

    let seats = Routes::new("Seats", "/api/v1/seats/{eventId}", Policy::API)
        .endpoint::<GetSeats>(M::GET, "")
        .command::<LockSeats>(M::POST, "/locks")
        .command::<CreateSeatType>(M::POST, "/seat-types")
        .command::<UpdateSeatType>(M::PUT, "/seat-types/{seatTypeId}")
        .command::<DeleteSeatType>(M::DELETE, "/seat-types/{seatTypeId}")
        .command::<LockSeat>(M::POST, "/seat-types/{seatTypeId}/lock")
        .command::<UnlockSeat>(M::DELETE, "/seat-types/{seatTypeId}/lock")
        .command::<ExtendLock>(M::POST, "/seat-types/{seatTypeId}/lock/extend");

    let bookings = Routes::new("Bookings", "/api/v1/bookings", PAYMENTS)
        .command::<CreateBooking>(M::POST, "/create")
        .endpoint::<ListBookings>(M::GET, "/my-bookings")
        .endpoint::<GetBooking>(M::GET, "/{booking_id}")
        .command::<CancelBooking>(M::POST, "/{booking_id}/cancel")
        .command::<NameHolders>(M::PUT, "/{booking_id}/holders")
        .endpoint::<GetTickets>(M::GET, "/{booking_id}/tickets")
        .endpoint::<GetTicketsPdf>(M::GET, "/{booking_id}/tickets.pdf")
        .endpoint::<GetPasses>(M::GET, "/{booking_id}/tickets.pkpass")
        .endpoint::<GetWalletLinks>(M::GET, "/{booking_id}/wallet-links")
        .endpoint::<GetCalendar>(M::GET, "/{booking_id}/calendar.ics")
        .endpoint::<GetTicketJob>(M::GET, "/ticket-status/{job_id}");

    let holders = Routes::beside("Tickets", "/api/v1/events/{eventId}", PERSONAL)
        .endpoint::<ListHolders>(M::GET, "/holders");

    let tickets = Routes::new("Tickets", "/api/v1/tickets", PERSONAL)
        .endpoint::<ListReceived>(M::GET, "/received")
        .command::<OfferTransfer>(M::POST, "/{id}/transfers");

    let transfers = Routes::new("Tickets", "/api/v1/transfers", PERSONAL)
        .endpoint::<ListTransfers>(M::GET, "")
        .command::<AcceptTransfer>(M::POST, "/{transfer_id}/accept")
        .command::<EndTransfer>(M::DELETE, "/{transfer_id}");

    let payments = Routes::new("Payments", "/api/v1/payments", PAYMENTS)
        .command::<CreateOrder>(M::POST, "/create-order")
        .endpoint_by_id::<VerifyPayment>(M::GET, "/verify/{order_id}")
        .uncounted_post("/webhook", webhook::LONGEST, webhook::webhook, webhook::spec());

    let service = Routes::new("Service", "", Policy::NONE)
        .get("/", health::root, health::root_spec())
        .get("/health", health::health, health::health_spec())
        .get("/ready", health::ready, health::ready_spec())
        .get("/openapi.json", documents::openapi, documents::openapi_spec())
        .get("/asyncapi.json", documents::asyncapi, documents::asyncapi_spec());

    let docs = Routes::new("Service", "/docs", Policy::API).get(
        "",
        documents::docs,
        documents::docs_spec(),
    );

    auth.and(events)
        .and(door)
        .and(waiting_rooms)
        .and(seats)
        .and(bookings)
        .and(holders)
        .and(tickets)
        .and(transfers)
        .and(payments)
        .and(service)
        .and(docs)
}

/// The API documents' description of every route.
pub(crate) fn described() -> Vec<Route> {
    routes().described
}

/// The policy for requests to each path.
pub(crate) fn policies() -> Policies {
    routes().policies(&[
        ("/api/v1", Policy::API),
        ("/admin", Policy::PAGES),
        ("/account", PERSONAL.entrance()),
        ("/socket.io", Policy::NONE.with(Priority::Buy, Priority::Buy).entrance()),
        ("/scan", Policy::API.with(Priority::Pay, Priority::Pay).entrance()),
    ])
}

/// The router without the layers around it (see [`server`](crate::server)).
pub(crate) fn router(documents: Documents) -> Router<App> {
    routes()
        .router
        .nest("/admin", admin::routes())
        .nest("/account", account_pages::routes())
        .nest("/scan", scan_page::routes())
        .nest("/docs", documents::below_docs())
        .fallback(async || ApiError::route_not_found())
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer(Extension(documents))
}
