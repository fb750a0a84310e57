//! The worker of the bookings queue.

use std::process::ExitCode;

use nexus_common::jobs::Queue;
use nexus_worker::handlers::{
    bookings::{self, Bookings},
    event_cancellation,
};

fn main() -> ExitCode {
    nexus_worker::serve(Queue::Bookings, Bookings::from_env, |worker| {
        worker.on(bookings::finalise_booking).on(event_cancellation::cancel_event)
    })
}
