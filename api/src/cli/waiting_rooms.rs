//! What operators do with waiting rooms on the command line (docs/waiting-room.md). It needs only
//! the database.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use nexus_common::{
    audit::Operator,
    config::{self, Env},
    storage::postgres,
    types::{ids::EventId, time::Timestamp},
    waiting_rooms::{
        draw,
        rehearsal::{self, Crowd},
        rooms::{self, Act, Room, Terms},
    },
};
use sqlx::PgConnection;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Give an event a waiting room: from now on, only visitors who have been called lock its seats.
    Announce {
        /// The event's id.
        event: i32,
        /// When those who are there by then are drawn: a time in UTC, such as 2031-05-01T10:00.
        #[arg(long)]
        opens_at: String,
        #[command(flatten)]
        limits: Limits,
    },
    /// Change what visitors may, or, before the draw, when it is.
    Set {
        /// The event's id.
        event: i32,
        /// When those who are there by then are drawn.
        #[arg(long)]
        opens_at: Option<String>,
        #[command(flatten)]
        limits: Limits,
    },
    /// Draw now.
    OpenNow {
        /// The event's id.
        event: i32,
    },
    /// Have nobody called until `resume`.
    Pause {
        /// The event's id.
        event: i32,
    },
    /// Go on calling.
    Resume {
        /// The event's id.
        event: i32,
    },
    /// Sell the event's seats to everybody from now on.
    Close {
        /// The event's id.
        event: i32,
    },
    /// Show how far a room is.
    Show {
        /// The event's id.
        event: i32,
    },
    /// Pretend, before the day, that so many come: who would be called when, and until when the
    /// seats last. Changes nothing; says how long the draw takes PostgreSQL.
    Rehearse {
        /// How many are there before the opening.
        arrivals: u32,
        /// How many seats there are.
        #[arg(long)]
        seats: u32,
        /// How many of a hundred who are called buy; the others let their window pass.
        #[arg(long, default_value_t = 70, value_parser = clap::value_parser!(u32).range(1..=100))]
        buyers: u32,
        /// How many seats each of them takes.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
        each: u32,
        /// How many seconds each of them takes to buy.
        #[arg(long, default_value_t = 180)]
        takes: u32,
        #[command(flatten)]
        limits: Limits,
    },
}

#[derive(Args)]
pub(crate) struct Limits {
    /// How long a called visitor may lock seats; 10 unless said otherwise.
    #[arg(long)]
    window_minutes: Option<u16>,
    /// How many may at once; 500 unless said otherwise.
    #[arg(long)]
    most_shoppers: Option<i32>,
    /// How many are called in a minute at most; 600 unless said otherwise.
    #[arg(long)]
    calls_per_minute: Option<i32>,
    /// Whether whoever joins needs a proved phone, and each phone has one place; true unless said
    /// otherwise.
    #[arg(long)]
    needs_phone: Option<bool>,
    /// How often the seats of bookings that have ended return; 0 for at once, 5 unless said
    /// otherwise.
    #[arg(long)]
    returns_every_minutes: Option<u16>,
}

impl Limits {
    fn terms(&self, opens_at: Option<&str>) -> anyhow::Result<Terms> {
        let opens_at = opens_at
            .map(|text| Timestamp::parse(text).with_context(|| format!("{text:?} is no time")));
        Ok(Terms {
            opens_at: opens_at.transpose()?.map(|time| time.0),
            window: self.window_minutes.map(of_minutes),
            most_shoppers: self.most_shoppers,
            most_calls: self.calls_per_minute,
            needs_phone: self.needs_phone,
            returns_every: self.returns_every_minutes.map(of_minutes),
        })
    }
}

fn of_minutes(minutes: u16) -> Duration {
    Duration::from_secs(60 * u64::from(minutes))
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    let database = Env::read().load(|env| config::Database::from_env(env, 2))?;
    let pool = postgres::pool(&database, "nexus-api operator");
    let mut tx = pool.begin().await?;
    let (event, act) = match command {
        Command::Announce { event, opens_at, limits } => {
            let terms = limits.terms(Some(&opens_at))?;
            let Some(opens_at) = terms.opens_at else { bail!("when does it open?") };
            (event, Act::Announce(opens_at, terms))
        }
        Command::Set { event, opens_at, limits } => {
            (event, Act::Set(limits.terms(opens_at.as_deref())?))
        }
        Command::OpenNow { event } => (event, Act::OpenNow),
        Command::Pause { event } => (event, Act::Pause),
        Command::Resume { event } => (event, Act::Resume),
        Command::Close { event } => (event, Act::Close),
        Command::Show { event } => return show(&rooms::room(&mut tx, EventId(event)).await?),
        Command::Rehearse { arrivals, seats, buyers, each, takes, limits } => {
            let crowd = Crowd { arrivals, seats, buyers, each, takes };
            return rehearse(&mut tx, crowd, limits.terms(None)?).await;
        }
    };
    let room = rooms::act(&mut tx, EventId(event), act, Operator::CommandLine).await?;
    tx.commit().await?;
    show(&room)
}

fn show(room: &Room) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(room)?);
    Ok(())
}

async fn rehearse(conn: &mut PgConnection, crowd: Crowd, terms: Terms) -> anyhow::Result<()> {
    let began = Instant::now();
    draw::rehearse(conn, crowd.arrivals).await?;
    println!(
        "The draw of {} visitors takes {:.1} s.",
        crowd.arrivals,
        began.elapsed().as_secs_f64()
    );
    let played = rehearsal::play(&crowd, terms);
    for (position, at) in &played.called {
        println!("Position {position} is called after {}.", minutes(*at));
    }
    match played.sold_out {
        Some(at) => println!(
            "All seats are sold after {}; {} visitors were called.",
            minutes(at),
            played.calls
        ),
        None => {
            println!("{} of {} seats are sold; everybody was called.", played.sold, crowd.seats)
        }
    }
    Ok(())
}

fn minutes(seconds: u32) -> String {
    format!("{}:{:02} minutes", seconds / 60, seconds % 60)
}
