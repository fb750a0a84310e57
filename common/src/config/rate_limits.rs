//! How often clients may ask: `RATE_LIMIT_LOGIN=5/15m` and the like. `docs/limits.md` gives the
//! purpose of each limit.

use std::{fmt, str::FromStr, time::Duration};

use super::Env;
use crate::types::contacts::Phone;

/// At most `count` in any `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    pub count: u32,
    /// The length of the window.
    pub period: Duration,
}

const SHAPE: &str = "it must look like 5/15m: a count from 1 to 1000000, and a time of at most a day in s, m, h or d";
const DAY: Duration = Duration::from_secs(86_400);
const MOST: u32 = 1_000_000;

impl RateLimit {
    /// So many times as much.
    pub fn times(self, factor: u32) -> Self {
        RateLimit { count: self.count.saturating_mul(factor), ..self }
    }
}

impl FromStr for RateLimit {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (count, period) = text.split_once('/').ok_or(SHAPE)?;
        let (number, unit) =
            period.split_at_checked(period.len().saturating_sub(1)).ok_or(SHAPE)?;
        let unit = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return Err(SHAPE),
        };
        let count = count.trim().parse().map_err(|_| SHAPE)?;
        let number: u32 = number.trim().parse().map_err(|_| SHAPE)?;
        let period = Duration::from_secs(u64::from(number) * unit);
        let is_usable = (1..=MOST).contains(&count) && !period.is_zero() && period <= DAY;
        is_usable.then_some(RateLimit { count, period }).ok_or(SHAPE)
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.period.as_secs();
        let (number, unit) = match seconds {
            86_400 => (1, "d"),
            _ if seconds.is_multiple_of(3_600) => (seconds / 3_600, "h"),
            _ if seconds.is_multiple_of(60) => (seconds / 60, "m"),
            _ => (seconds, "s"),
        };
        write!(f, "{}/{number}{unit}", self.count)
    }
}

/// The limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Anonymous,
    User,
    Connections,
    Commands,
    Login,
    Logins,
    LoginFailures,
    Registration,
    OtpSend,
    OtpSendAddress,
    OtpCountry,
    OtpNetwork,
    OtpFailures,
    OtpChecks,
    OtpFailuresAddress,
    EmailSend,
    EmailSendAddress,
    PasswordReset,
    PasswordResetAddress,
    Puzzles,
    ConfirmBooking,
    OtpDay,
    EmailDay,
    Mail,
    Sms,
    SmsCountry,
    AccountExport,
    TicketFiles,
    Transfers,
    Offers,
    Events,
    IdempotencyKeys,
    PhoneOwners,
    Door,
    DoorSearch,
    DoorBundles,
    Staff,
    WaitingRoom,
    WaitingRoomDemand,
    UnpaidSeats,
    UnpaidBookings,
    UnpaidSeatMinutes,
    UnpaidEndings,
    UnpaidNetworkMinutes,
}

impl Limit {
    /// All limits, in the order of their declaration.
    pub const ALL: [Limit; 44] = [
        Limit::Anonymous,
        Limit::User,
        Limit::Connections,
        Limit::Commands,
        Limit::Login,
        Limit::Logins,
        Limit::LoginFailures,
        Limit::Registration,
        Limit::OtpSend,
        Limit::OtpSendAddress,
        Limit::OtpCountry,
        Limit::OtpNetwork,
        Limit::OtpFailures,
        Limit::OtpChecks,
        Limit::OtpFailuresAddress,
        Limit::EmailSend,
        Limit::EmailSendAddress,
        Limit::PasswordReset,
        Limit::PasswordResetAddress,
        Limit::Puzzles,
        Limit::ConfirmBooking,
        Limit::OtpDay,
        Limit::EmailDay,
        Limit::Mail,
        Limit::Sms,
        Limit::SmsCountry,
        Limit::AccountExport,
        Limit::TicketFiles,
        Limit::Transfers,
        Limit::Offers,
        Limit::Events,
        Limit::IdempotencyKeys,
        Limit::PhoneOwners,
        Limit::Door,
        Limit::DoorSearch,
        Limit::DoorBundles,
        Limit::Staff,
        Limit::WaitingRoom,
        Limit::WaitingRoomDemand,
        Limit::UnpaidSeats,
        Limit::UnpaidBookings,
        Limit::UnpaidSeatMinutes,
        Limit::UnpaidEndings,
        Limit::UnpaidNetworkMinutes,
    ];

    /// What counts only if a code is wrong.
    pub const GUESSES: [Limit; 3] =
        [Limit::OtpFailures, Limit::OtpChecks, Limit::OtpFailuresAddress];

    /// What counts only if the account has a place then.
    pub const WAITING_ROOM: [Limit; 2] = [Limit::WaitingRoom, Limit::WaitingRoomDemand];

    /// What a login does not count for whose password is right,
    pub const RIGHT_LOGIN: [Limit; 2] = [Limit::Login, Limit::LoginFailures];
    /// and one whose password is wrong.
    pub const WRONG_LOGIN: [Limit; 1] = [Limit::Logins];

    /// What may be held without being paid for: PostgreSQL counts it, over a day or at any moment,
    /// so that the setting is a number without a time.
    const UNPAID: [Limit; 5] = [
        Limit::UnpaidSeats,
        Limit::UnpaidBookings,
        Limit::UnpaidSeatMinutes,
        Limit::UnpaidEndings,
        Limit::UnpaidNetworkMinutes,
    ];

    /// Its name in metrics and in Redis, its variable, and its default.
    fn row(self) -> (&'static str, &'static str, RateLimit) {
        let rate = |count, seconds| RateLimit { count, period: Duration::from_secs(seconds) };
        const MINUTE: u64 = 60;
        const HOUR: u64 = 3_600;
        match self {
            // Requests to the API from one address, without a valid token.
            Limit::Anonymous => ("anonymous", "RATE_LIMIT_ANONYMOUS", rate(3_000, MINUTE)),
            // Requests and socket commands of one user, together.
            Limit::User => ("user", "RATE_LIMIT_USER", rate(1_000, MINUTE)),
            // New Socket.IO connections from one address.
            Limit::Connections => ("connections", "RATE_LIMIT_CONNECTIONS", rate(3_000, MINUTE)),
            // Commands over one Socket.IO connection, connecting included.
            Limit::Commands => ("commands", "RATE_LIMIT_COMMANDS", rate(100, 10)),
            // Logins with a password from one address that have failed, or go on.
            Limit::Login => ("login", "RATE_LIMIT_LOGIN", rate(100, 15 * MINUTE)),
            // Logins to one account: each costs as much to check as a wrong one, and leaves a session.
            Limit::Logins => ("logins", "RATE_LIMIT_LOGINS", rate(60, HOUR)),
            // Wrong passwords for one account.
            Limit::LoginFailures => ("login_failures", "RATE_LIMIT_LOGIN_FAILURES", rate(10, HOUR)),
            // New accounts from one address.
            Limit::Registration => ("registration", "RATE_LIMIT_REGISTRATION", rate(20, HOUR)),
            // Codes to one phone.
            Limit::OtpSend => ("otp_send", "RATE_LIMIT_OTP_SEND", rate(5, 30 * MINUTE)),
            // Codes for one address.
            Limit::OtpSendAddress => {
                ("otp_send_address", "RATE_LIMIT_OTP_SEND_ADDRESS", rate(20, 30 * MINUTE))
            }
            // Codes to one country a day.
            Limit::OtpCountry => ("otp_country", "OTP_DAILY_CAP", rate(500, 24 * HOUR)),
            // Codes to one country for one network a day: a share of the country's cap.
            Limit::OtpNetwork => ("otp_network", "", rate(50, 24 * HOUR)),
            // Wrong codes for one phone by one caller.
            Limit::OtpFailures => ("otp_failures", "RATE_LIMIT_OTP_FAILURES", rate(2, 10 * MINUTE)),
            // Wrong codes for one phone by all callers of a kind: follows from Twilio's limit.
            Limit::OtpChecks => ("otp_checks", "", rate(5, 10 * MINUTE)),
            // Wrong codes from one address.
            Limit::OtpFailuresAddress => {
                ("otp_failures_address", "RATE_LIMIT_OTP_FAILURES_ADDRESS", rate(100, 30 * MINUTE))
            }
            // Mails with a link or a code to one address.
            Limit::EmailSend => ("email_send", "RATE_LIMIT_EMAIL_SEND", rate(5, HOUR)),
            // The same mails for one network address.
            Limit::EmailSendAddress => {
                ("email_send_address", "RATE_LIMIT_EMAIL_SEND_ADDRESS", rate(20, HOUR))
            }
            // Password resets for one phone.
            Limit::PasswordReset => ("password_reset", "RATE_LIMIT_PASSWORD_RESET", rate(3, HOUR)),
            // Password resets from one address.
            Limit::PasswordResetAddress => {
                ("password_reset_address", "RATE_LIMIT_PASSWORD_RESET_ADDRESS", rate(100, HOUR))
            }
            // Uses of one puzzle; see [`puzzles::VALID`](crate::limiter::puzzles::VALID).
            Limit::Puzzles => ("puzzles", "", rate(1, 5 * MINUTE)),
            // Payments that a buyer names and that are not their booking's.
            Limit::ConfirmBooking => {
                ("confirm_booking", "RATE_LIMIT_CONFIRM_BOOKING", rate(10, MINUTE))
            }
            // Codes to one phone in a day.
            Limit::OtpDay => ("otp_day", "RATE_LIMIT_OTP_DAY", rate(20, 24 * HOUR)),
            // Mails with a link or a code to one address in a day.
            Limit::EmailDay => ("email_day", "RATE_LIMIT_EMAIL_DAY", rate(20, 24 * HOUR)),
            // Mails about bookings to one address, and for one account.
            Limit::Mail => ("mail", "RATE_LIMIT_MAIL", rate(50, 24 * HOUR)),
            // SMS about bookings to one phone, and for one account.
            Limit::Sms => ("sms", "RATE_LIMIT_SMS", rate(20, 24 * HOUR)),
            // SMS about bookings to one country a day.
            Limit::SmsCountry => ("sms_country", "SMS_DAILY_CAP", rate(1_000, 24 * HOUR)),
            // Exports of everything that is held about one user.
            Limit::AccountExport => ("account_export", "RATE_LIMIT_ACCOUNT_EXPORT", rate(5, HOUR)),
            // PDFs and passes of one user's tickets: each takes a core for a while.
            Limit::TicketFiles => {
                ("ticket_files", "RATE_LIMIT_TICKET_FILES", rate(30, 10 * MINUTE))
            }
            // Tickets that one user offers to others.
            Limit::Transfers => {
                ("ticket_transfers", "RATE_LIMIT_TICKET_TRANSFERS", rate(100, 24 * HOUR))
            }
            // Mails to one address about tickets that it is offered, whoever offers them.
            Limit::Offers => ("offer_mails", "RATE_LIMIT_OFFER_MAILS", rate(10, 24 * HOUR)),
            // New events of one user.
            Limit::Events => ("events", "RATE_LIMIT_EVENTS", rate(200, 24 * HOUR)),
            // Requests of one user whose response is kept for a day.
            Limit::IdempotencyKeys => {
                ("idempotency_keys", "RATE_LIMIT_IDEMPOTENCY_KEYS", rate(1_000, 24 * HOUR))
            }
            // Accounts to which one phone comes to belong, one after the other.
            Limit::PhoneOwners => ("phone_owners", "RATE_LIMIT_PHONE_OWNERS", rate(5, 24 * HOUR)),
            // Requests of one device at a door.
            Limit::Door => ("door", "RATE_LIMIT_DOOR", rate(600, MINUTE)),
            // Searches for tickets by one device or user at a door.
            Limit::DoorSearch => ("door_search", "RATE_LIMIT_DOOR_SEARCH", rate(60, MINUTE)),
            // Whole bundles for one device or user at a door.
            Limit::DoorBundles => ("door_bundles", "RATE_LIMIT_DOOR_BUNDLES", rate(20, MINUTE)),
            // Accounts that one organiser names as staff, whether or not there are any.
            Limit::Staff => ("staff", "RATE_LIMIT_STAFF", rate(100, HOUR)),
            // Accounts that join one event's waiting room from one address.
            Limit::WaitingRoom => ("waiting_room", "RATE_LIMIT_WAITING_ROOM", rate(20, HOUR)),
            // Accounts that join one event's waiting room, from wherever.
            Limit::WaitingRoomDemand => {
                ("waiting_room_demand", "RATE_LIMIT_WAITING_ROOM_DEMAND", rate(3_000, MINUTE))
            }
            // Unpaid seats of one user, over all events.
            Limit::UnpaidSeats => ("unpaid_seats", "UNPAID_SEATS_PER_ACCOUNT", rate(20, 24 * HOUR)),
            // Unpaid bookings of one user, over all events.
            Limit::UnpaidBookings => {
                ("unpaid_bookings", "UNPAID_BOOKINGS_PER_ACCOUNT", rate(5, 24 * HOUR))
            }
            // Minutes of unpaid seats of one user in a day, those of each seat.
            Limit::UnpaidSeatMinutes => {
                ("unpaid_seat_minutes", "UNPAID_SEAT_MINUTES_PER_DAY", rate(900, 24 * HOUR))
            }
            // Unpaid bookings of one user that end in a day before there is a cool-down.
            Limit::UnpaidEndings => {
                ("unpaid_endings", "UNPAID_ENDINGS_PER_DAY", rate(2, 24 * HOUR))
            }
            // Minutes of unpaid seats of one network in a day, before accounts have fewer there.
            Limit::UnpaidNetworkMinutes => {
                let minutes = rate(9_000, 24 * HOUR);
                ("unpaid_network_minutes", "UNPAID_SEAT_MINUTES_PER_NETWORK", minutes)
            }
        }
    }

    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// How many times as much of it a network gets that works for it; 1 if work does not help. With
    /// the limits' defaults that is enough for 2,000 people behind one address.
    pub fn with_work(self) -> u32 {
        match self {
            Limit::Login => 20,
            Limit::Registration
            | Limit::OtpSendAddress
            | Limit::EmailSendAddress
            | Limit::WaitingRoom
            | Limit::WaitingRoomDemand => 100,
            _ => 1,
        }
    }
}

/// How many codes, or other SMS, go to phones of one country in a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DailyCaps {
    /// By calling code, or by a longer prefix.
    own: Vec<(String, u32)>,
    /// For every other calling code.
    others: u32,
}

impl DailyCaps {
    /// The prefix under which this number is counted, and how many codes it may get.
    pub fn of<'a>(&self, phone: &'a Phone) -> (&'a str, RateLimit) {
        let digits = phone.as_str().trim_start_matches('+');
        let own = self.own.iter().filter(|(prefix, _)| digits.starts_with(prefix.as_str()));
        let (prefix, count) = match own.max_by_key(|(prefix, _)| prefix.len()) {
            Some((prefix, count)) => (&digits[..prefix.len()], *count),
            None => (phone.calling_code(), self.others),
        };
        (prefix, RateLimit { count, period: DAY })
    }
}

impl FromStr for DailyCaps {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHAPE: &str = "it must look like 91:20000,*:500: calling codes, * for all others, each with a count from 1 to 1000000";
        let mut caps = DailyCaps { own: Vec::new(), others: 0 };
        for entry in text.split(',') {
            let (prefix, count) = entry.trim().split_once(':').ok_or(SHAPE)?;
            let count =
                count.parse().ok().filter(|count| (1..=MOST).contains(count)).ok_or(SHAPE)?;
            match prefix {
                "*" => caps.others = count,
                _ if (1..=15).contains(&prefix.len())
                    && prefix.bytes().all(|b| b.is_ascii_digit()) =>
                {
                    caps.own.push((prefix.to_owned(), count));
                }
                _ => return Err(SHAPE),
            }
        }
        if caps.others == 0 { Err(SHAPE) } else { Ok(caps) }
    }
}

impl fmt::Display for DailyCaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (prefix, count) in &self.own {
            write!(f, "{prefix}:{count},")?;
        }
        write!(f, "*:{}", self.others)
    }
}

/// What may be held without being paid for (docs/limits.md#unpaid-seats).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpaid {
    /// UNPAID_SEATS_PER_ACCOUNT, 20: seats at once, over all events.
    pub seats: u32,
    /// UNPAID_BOOKINGS_PER_ACCOUNT, 5: bookings at once, over all events.
    pub bookings: u32,
    /// UNPAID_SEAT_MINUTES_PER_DAY, 900: the time that its seats are held, all together.
    pub seat_minutes: u32,
    /// UNPAID_ENDINGS_PER_DAY, 2: bookings that end unpaid before the cool-downs begin.
    pub endings: u32,
    /// UNPAID_SEAT_MINUTES_PER_NETWORK, 9,000: the time that seats locked from one network were
    /// held, before accounts hold few seats from there, and for a tenth of the time.
    pub network_minutes: u32,
}

impl Unpaid {
    /// How long an account may hold seats that it locks from a network, which may have spent what
    /// it has.
    pub fn seat_minutes_of(self, is_spent: bool) -> u32 {
        if is_spent { self.seat_minutes.div_ceil(10) } else { self.seat_minutes }
    }

    /// How many seats it may hold at once, of an event that lets everybody have `most`. From a
    /// spent network they are as many as use that time up in a quarter of an hour.
    pub fn seats_of(self, is_spent: bool, most: u32) -> u32 {
        match is_spent {
            true => self.seat_minutes_of(true).div_ceil(15).min(self.seats),
            false => self.seats.max(most),
        }
    }
}

#[derive(Clone, Debug)]
pub struct RateLimits {
    /// RATE_LIMITS is not `off`.
    pub enforced: bool,
    /// OTP_DAILY_CAP
    pub otp_caps: DailyCaps,
    /// OTP_FREE_PERCENT: how much of that can be had without work.
    pub otp_free_percent: u32,
    /// SMS_DAILY_CAP
    pub sms_caps: DailyCaps,
    rates: [RateLimit; Limit::ALL.len()],
}

impl RateLimits {
    /// Reads the group.
    pub fn from_env(env: &mut Env) -> Self {
        let enforced = env.one_of("RATE_LIMITS", &[("on", true), ("off", false)]);
        if !enforced && env.production {
            env.problem("RATE_LIMITS=off is refused when NODE_ENV is production");
        }
        let rates = Limit::ALL.map(|limit| match limit.row() {
            // Read as caps rather than one rate.
            (_, "OTP_DAILY_CAP" | "SMS_DAILY_CAP", default) => default,
            // Not for operators to choose.
            (_, "", default) => default,
            (_, variable, default) if Limit::UNPAID.contains(&limit) => {
                let count = env.between(variable, default.count.into(), 1, MOST.into());
                RateLimit { count: count as u32, ..default }
            }
            (_, variable, default) => env.or(variable, default),
        });
        let otp_free_percent = env.or("OTP_FREE_PERCENT", 50);
        if otp_free_percent > 100 {
            env.problem("OTP_FREE_PERCENT must be at most 100");
        }
        let usual = |india, others| DailyCaps { own: vec![("91".to_owned(), india)], others };
        RateLimits {
            enforced,
            otp_caps: env.or("OTP_DAILY_CAP", usual(20_000, 500)),
            otp_free_percent,
            sms_caps: env.or("SMS_DAILY_CAP", usual(100_000, 1_000)),
            rates,
        }
    }

    /// What may be held without being paid for.
    pub fn unpaid(&self) -> Unpaid {
        let most = |limit| if self.enforced { self.of(limit).count } else { u32::MAX };
        Unpaid {
            seats: most(Limit::UnpaidSeats),
            bookings: most(Limit::UnpaidBookings),
            seat_minutes: most(Limit::UnpaidSeatMinutes),
            endings: most(Limit::UnpaidEndings),
            network_minutes: most(Limit::UnpaidNetworkMinutes),
        }
    }

    /// How much of something is allowed.
    pub fn of(&self, limit: Limit) -> RateLimit {
        self.rates[limit as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_count_and_a_time() {
        let read =
            |text: &str| text.parse::<RateLimit>().map(|rate| (rate.count, rate.period.as_secs()));
        assert_eq!(read("5/15m"), Ok((5, 900)));
        assert_eq!(read("1000/1s"), Ok((1_000, 1)));
        assert_eq!(read("1/1d"), Ok((1, 86_400)));
        for text in [
            "",
            "5",
            "5/",
            "/5m",
            "0/1m",
            "5/0m",
            "5/15",
            "5/m",
            "-1/1m",
            "5/25h",
            "5/1é",
            "1000001/1s",
        ] {
            assert_eq!(read(text), Err(SHAPE), "{text}");
        }
        for text in ["5/15m", "7/90s", "1/2h", "100/1d"] {
            assert_eq!(text.parse::<RateLimit>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn limits_are_found_where_they_are_declared() {
        for (place, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, place, "{}", limit.name());
        }
    }

    #[test]
    fn a_phone_counts_for_the_longest_beginning_that_has_a_cap() {
        let caps: DailyCaps = "91:20000, 1:100,1876:10,*:500".parse().unwrap();
        for (phone, prefix, count) in [
            ("+919812345678", "91", 20_000),
            ("+18765550100", "1876", 10),
            ("+14155550100", "1", 100),
            ("+447700900123", "44", 500),
            ("+35312345678", "353", 500),
        ] {
            let phone = Phone::parse(phone).unwrap();
            let (found, rate) = caps.of(&phone);
            assert_eq!((found, rate.count), (prefix, count), "{}", phone.as_str());
        }
        for text in ["", "91:5", "*:0", "*:x", "+91:5,*:5", "*"] {
            assert!(text.parse::<DailyCaps>().is_err(), "{text}");
        }
    }
}
