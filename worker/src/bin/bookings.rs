//! The worker of the bookings queue.

use std::{process::ExitCode, time::Duration};

use nexus_common::jobs::{
    Queue,
    bookings::{ReissueTickets, RemindBuyers, StoreCodes},
};
use nexus_worker::handlers::{
    bookings::{self, Bookings},
    event_cancellation, event_notices,
};

fn main() -> ExitCode {
    nexus_worker::run_worker(Queue::Bookings, Bookings::from_env, |worker| {
        worker
            .on(bookings::finalise_booking)
            .on(bookings::transfer_ticket)
            .on(event_cancellation::cancel_event)
            .on(event_notices::tell_buyers)
            .on(event_notices::remind_buyers)
            .every(Duration::from_secs(300), || RemindBuyers {})
            .on(bookings::store_codes)
            .every(Duration::from_secs(300), || StoreCodes {})
            // The Node service makes tickets as long as it runs beside us.
            .on(bookings::reissue_tickets)
            .every(Duration::from_secs(300), || ReissueTickets { before: None })
    })
}
