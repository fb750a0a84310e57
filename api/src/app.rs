//! What every request can reach.

use std::{sync::Arc, thread::available_parallelism, time::Duration};

use anyhow::Context;
use nexus_common::{
    Error, Result,
    accounts::{
        hints::TokenHints,
        otp_challenges::{Challenges, OtpHints},
        sessions,
        tokens::{Signer, Verified},
    },
    audit::AddressKey,
    bookings::{
        creation,
        new_bookings::{Created, Terms, Wanted},
        views::{self, BookingDetail, ListedBooking, Listing},
    },
    config,
    door::{self, access::Scanner, bundles::BundleKeys},
    events::{inventory, turns::Turns},
    payments::{
        orders::{self, CreatedOrder, PaymentVerification},
        webhooks::{self, Incoming},
    },
    providers::{Key, breaches::Breaches, captcha::Captcha, razorpay::Razorpay, twilio::Twilio},
    realtime::{AfterCommit, Coalesced, Followers},
    seats::{
        counts, lock,
        locks::{self, SeatLocks},
        pseudonyms::Pseudonyms,
    },
    storage::{Cache, groups::Groups},
    tickets::files::Files,
    types::{
        feature::Feature,
        ids::{BookingId, EventId, UserId},
        visibility::Viewer,
    },
    waiting_rooms::tokens::AdmissionKeys,
};
use sqlx::PgPool;
use tokio::sync::Semaphore;

use crate::{
    admission::Gate,
    auth::{expiries::Expiries, known_scanners::KnownScanners, verified_tokens::VerifiedTokens},
    budgets::Budgets,
    reads::Reads,
    seat_maps::SeatMaps,
    socketio::{delivery::Everyone, gaps},
    waiting_rooms::WaitingRooms,
};

/// Shared by all requests and sockets. Cheap to clone.
pub(crate) type App = Arc<AppState>;

/// The connections, clients and settings of this process.
pub(crate) struct AppState {
    pub(crate) settings: config::Api,
    /// Lets in as many requests as this process can serve in time.
    pub(crate) gate: Gate,
    pub(crate) db: PgPool,
    pub(crate) cache: Cache,
    pub(crate) tokens: TokenHints,
    pub(crate) budgets: Budgets,
    pub(crate) signer: Signer,
    /// Hashes addresses and networks.
    pub(crate) addresses: AddressKey,
    pub(crate) locks: SeatLocks,
    pub(crate) pseudonyms: Pseudonyms,
    /// What every new booking is subject to.
    pub(crate) terms: Terms,
    pub(crate) bookings: Groups<Wanted, Option<(Created, AfterCommit)>>,
    /// Records orders.
    pub(crate) orders: Groups<CreatedOrder, Option<String>>,
    /// Stores webhooks.
    pub(crate) inbox: Groups<Incoming, bool>,
    /// Of events' counts.
    pub(crate) versions: Groups<(EventId, Viewer), Option<i64>>,
    pub(crate) booking_lists: Groups<Listing, (Vec<ListedBooking>, i64)>,
    pub(crate) booking_details: Groups<(BookingId, UserId), BookingDetail>,
    /// By order or payment id.
    pub(crate) payment_states: Groups<(String, UserId), PaymentVerification>,
    /// Limits how many requests for one event wait for its inventory at once.
    pub(crate) turns: Turns,
    pub(crate) everyone: Everyone,
    /// Carries out what follows this process's commits, in order.
    pub(crate) followers: Followers,
    counts: Coalesced<Everyone>,
    pub(crate) reads: Reads,
    pub(crate) seat_maps: SeatMaps,
    pub(crate) waiting_rooms: WaitingRooms,
    twilio: Option<Twilio>,
    razorpay: Option<Razorpay>,
    /// Without it, new passwords are compared with the bundled list only.
    pub(crate) breaches: Option<Breaches>,
    pub(crate) captcha: Option<Captcha>,
    pub(crate) verified: VerifiedTokens,
    pub(crate) expiries: Expiries,
    pub(crate) challenges: Challenges,
    pub(crate) otp_hints: OtpHints,
    revocations: Groups<(String, Verified), bool>,
    scanners: Groups<door::keys::Token, Option<Scanner>>,
    pub(crate) known_scanners: KnownScanners,
    /// Sign what scanners get for working offline.
    pub(crate) bundle_keys: BundleKeys,
    /// Makes files of tickets.
    pub(crate) files: Arc<Files>,
    /// A permit for each file that may be made at the same time: half of the cores, so that others
    /// get theirs.
    pub(crate) making_files: Arc<Semaphore>,
    /// The same for requests that have codes drawn.
    pub(crate) drawing: Arc<Semaphore>,
    /// Tells organisers how many are in.
    pub(crate) door_counts: Coalesced<Everyone>,
}

/// How long a request waits for its turn at an event.
const TURN: Duration = Duration::from_secs(5);

fn half_of_the_cores() -> Arc<Semaphore> {
    let cores = available_parallelism().map_or(1, usize::from);
    Arc::new(Semaphore::new((cores / 2).max(1)))
}

impl AppState {
    /// Connects lazily: PostgreSQL and Redis may be away when the process starts.
    pub(crate) fn new(settings: config::Api) -> anyhow::Result<App> {
        let db = nexus_common::storage::postgres::pool(&settings.database, "nexus-api");
        let writing = locks::pool(&settings.database, settings.lock_connections, "nexus-api locks");
        let cache = Cache::new(&settings.redis)?;
        let everyone = Everyone::start(&settings.redis)?;
        let seats = counts::updates(db.clone(), &settings.redis, everyone.clone())?;
        tokio::spawn(gaps::tell(db.clone(), seats.clone(), everyone.gaps.clone()));
        let newest = settings.tokens.access.first().context("no key signs tokens")?;
        let (deadlines, unpaid) = (settings.deadlines, settings.limits.unpaid());
        let terms = Terms {
            valid: deadlines.booking,
            lock: deadlines.lock,
            most_unpaid: unpaid.bookings,
            chargeable: settings.chargeable,
        };
        let gate = Gate::new(settings.http.max_requests, settings.http.latency_target);
        let locking = lock::Terms { valid: deadlines.lock, unpaid };
        Ok(Arc::new(AppState {
            terms,
            gate: gate.clone(),
            bookings: creation::creator(db.clone(), terms),
            orders: orders::recorder(db.clone()),
            inbox: webhooks::inbox(db.clone()),
            versions: inventory::versions(db.clone()),
            booking_lists: views::lists(db.clone()),
            booking_details: views::details(db.clone()),
            payment_states: orders::states(db.clone()),
            budgets: Budgets::new(settings.limits.clone(), cache.clone(), &settings.tokens)?,
            signer: Signer::new(&settings.tokens)?,
            addresses: AddressKey::new(newest)?,
            turns: Turns::new(settings.database.max_connections as usize / 4, TURN),
            pseudonyms: Pseudonyms::new(&settings.tokens)?,
            locks: SeatLocks::new(db.clone(), writing, cache.clone(), locking),
            twilio: settings.twilio.as_ref().map(Twilio::new).transpose()?,
            razorpay: settings.razorpay.as_ref().map(Razorpay::new).transpose()?,
            captcha: settings.captcha.clone().map(Captcha::new).transpose()?,
            breaches: settings.password_breaches.as_deref().map(Breaches::new).transpose()?,
            verified: VerifiedTokens::default(),
            expiries: Expiries::default(),
            challenges: Challenges::new(&settings.tokens)?,
            otp_hints: OtpHints::new(cache.clone()),
            revocations: sessions::revocations(db.clone()),
            scanners: door::keys::scanners(db.clone()),
            known_scanners: KnownScanners::default(),
            bundle_keys: BundleKeys::new(&settings.tokens)?,
            door_counts: door::counts::updates(db.clone(), &settings.redis, everyone.clone())?,
            files: Arc::new(Files::new(settings.ticket_files.clone())),
            making_files: half_of_the_cores(),
            drawing: half_of_the_cores(),
            reads: Reads::new(&db),
            waiting_rooms: WaitingRooms::new(
                &db,
                gate,
                AdmissionKeys::new(&settings.tokens, settings.admission_keys.clone())?,
            ),
            seat_maps: SeatMaps::new(db.clone(), cache.clone(), everyone.clone(), seats.clone()),
            followers: Followers::new(cache.clone(), seats.clone()),
            counts: seats,
            tokens: TokenHints::new(cache.clone(), settings.token_storage),
            db,
            cache,
            everyone,
            settings,
        }))
    }

    /// Tells the other processes what follows the last commits.
    pub(crate) async fn say_last_words(&self) {
        self.followers.settle().await;
        self.counts.settle().await;
        self.door_counts.settle().await;
        self.everyone.settle().await;
    }

    /// The client of Twilio, if its credentials are set.
    pub(crate) fn twilio(&self) -> Result<&Twilio> {
        self.twilio.as_ref().ok_or(Error::Off(Feature::Sms))
    }

    /// The client of Razorpay, if its credentials are set.
    pub(crate) fn razorpay(&self) -> Result<&Razorpay> {
        self.razorpay.as_ref().ok_or(Error::Off(Feature::Payments))
    }

    /// The keys that this process needs.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        let twilio = self.twilio.as_ref().map(Twilio::key);
        twilio.into_iter().chain(self.razorpay.as_ref().map(Razorpay::key)).cloned()
    }

    /// The scanner of a door key.
    pub(crate) async fn scanner(&self, token: door::keys::Token) -> Result<Scanner> {
        let scanner = self.scanners.call(token.clone()).await?;
        self.known_scanners.note(token, scanner.is_some());
        scanner.ok_or(Error::TokenInvalid)
    }

    /// The user of an access token. Redis knows revoked tokens at once; PostgreSQL has the truth,
    /// notifies of each revocation, and is asked again every few seconds, or always while Redis is
    /// away.
    pub(crate) async fn authenticate(&self, token: &str) -> Result<UserId> {
        let verified = self.signer.verify_access(token)?;
        let redis = self.tokens.is_revoked(token, &verified).await;
        if redis == Some(true) {
            return Err(Error::TokenRevoked);
        }
        let began = match self.verified.contains(token, verified.user) {
            Ok(()) if redis.is_some() => return Ok(verified.user),
            Ok(()) => None,
            Err(began) => Some(began),
        };
        if self.revocations.call((token.to_owned(), verified)).await? {
            return Err(Error::TokenRevoked);
        }
        if let Some(began) = began {
            self.verified.insert(token, verified.user, &began);
        }
        Ok(verified.user)
    }
}
