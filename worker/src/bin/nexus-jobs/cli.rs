//! The command line of `nexus-jobs`, as `--help` explains it.

use clap::{
    Args, Parser, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use nexus_common::jobs::{JobId, JobState, Queue};
use nexus_worker::reconciler::manual;

/// Look into the job ledger, retry dead jobs, discard jobs; check the books, reconcile payments.
#[derive(Parser)]
#[command(name = "nexus-jobs", version = nexus_common::VERSION)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// The newest jobs.
    List {
        #[command(flatten)]
        which: Which,
        /// Only jobs in this state.
        #[arg(long, value_parser = PossibleValuesParser::new(JobState::ALL.map(JobState::name)).try_map(|word| word.parse::<JobState>()))]
        state: Option<JobState>,
    },
    /// The newest dead jobs.
    Dead(Which),
    /// Everything about one job: payload, attempts, errors.
    Show {
        /// The job.
        id: JobId,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make dead or cancelled jobs due again, with all their attempts before them.
    #[command(arg_required_else_help = true)]
    Retry(Chosen),
    /// Cancel a job that has not started, or is dead.
    #[command(arg_required_else_help = true)]
    Discard(Chosen),
    /// E-mail a booking's tickets again, to the address that its buyer has now (`nexus-api
    /// set-email`).
    ResendTickets {
        /// The booking's reference: BKG-….
        booking: String,
    },
    /// Payments that somebody has to look at.
    Alerts {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// The story of a payment: order, webhooks, ledger, refund, jobs, alerts.
    #[command(arg_required_else_help = true)]
    Payment {
        /// A payment (pay_…), an order (order_…), a refund (rfnd_…), a dispute (disp_…), a booking
        /// (BKG-… or its number), or what an alert names ("webhook 7").
        about: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// An alert has been dealt with.
    CloseAlert {
        /// The alert.
        id: i64,
    },
    /// Whether every invariant of seats and money holds; fails when one does not.
    CheckBooks {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Ask for no refund until `release-refunds`: before the workers start on books that were
    /// restored from a backup.
    HoldRefunds,
    /// Ask for refunds again.
    ReleaseRefunds,
    /// How many jobs each queue has in each state.
    Stats {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// A live table of the queues, until Ctrl-C.
    Watch {
        /// Seconds between two looks.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
        every: u64,
        /// End after this many looks.
        #[arg(long)]
        looks: Option<u64>,
    },
    /// The audit log as CSV, the oldest rows first. (Rows of transactions that end later may be older
    /// than the last one.)
    Audit {
        /// A date, a time, or how long ago: 2031-05-01, 2031-05-01T18:00Z, 3d, 12h, 30m.
        #[arg(long, value_parser = manual::since)]
        since: chrono::TimeDelta,
    },
    /// The payments ledger as CSV.
    Ledger {
        /// From that day or time on: 2031-05-01, 2031-05-01T18:00Z.
        #[arg(long)]
        from: Option<String>,
        /// Up to the end of that day, or that time.
        #[arg(long)]
        to: Option<String>,
    },
    /// Print the variables that are read, with what each is taken for when it is not set.
    ListConfig,
    /// Compare payments and refunds with Razorpay's, put right what differs, and print it. Exits
    /// with 1 when something differed.
    Reconcile {
        /// A date, a time, or how long ago: 2031-05-01, 2031-05-01T18:00Z, 3d, 12h, 30m.
        #[arg(long, value_parser = manual::since)]
        since: chrono::TimeDelta,
        /// Change nothing, show what would be done.
        #[arg(long)]
        dry_run: bool,
        /// Send back what was paid for bookings that our books have lost.
        #[arg(long, conflicts_with = "dry_run")]
        refund_lost: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
pub(crate) struct Chosen {
    /// The job.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) id: Option<JobId>,
    /// Every dead job of a kind.
    #[arg(long, requires = "kind")]
    all: bool,
    /// The kind.
    #[arg(long, requires = "all")]
    pub(crate) kind: Option<String>,
}

#[derive(Args)]
pub(crate) struct Which {
    /// Only jobs of this queue.
    #[arg(long, value_parser = PossibleValuesParser::new(Queue::ALL.map(Queue::name)))]
    pub(crate) queue: Option<String>,
    /// Only jobs of this kind.
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// At most this many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=100_000))]
    pub(crate) limit: i64,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
