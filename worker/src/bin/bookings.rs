//! The worker of the bookings queue.

use std::{process::ExitCode, time::Duration};

use nexus_common::jobs::{Queue, bookings::ReissueTickets};
use nexus_worker::handlers::{
    bookings::{self, Bookings},
    event_cancellation,
};

fn main() -> ExitCode {
    nexus_worker::run_worker(Queue::Bookings, Bookings::from_env, |worker| {
        worker
            .on(bookings::finalise_booking)
            .on(event_cancellation::cancel_event)
            // The Node service makes tickets as long as it runs beside us.
            .on(bookings::reissue_tickets)
            .every(Duration::from_secs(300), || ReissueTickets { before: None })
    })
}
