//! What clients send, as the documents describe it: path segments, query parameters, bodies and the
//! payloads of socket commands alike. What is accepted is decided where it is read, in
//! `common/src/domain`; these structs are never made.

#![allow(dead_code, reason = "described, never made")]

use nexus_common::types::event_status::EventStatus;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type, schema::AnyOfBuilder,
    },
};

/// Describes a kind of value.
macro_rules! value {
    ($name:ident: $schema:expr) => {
        pub(super) enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $schema.into()
            }
        }

        impl ToSchema for $name {}
    };
}

value!(Id: or_text(integer(1, i32::MAX), "^[1-9][0-9]{0,8}$"));
value!(Quantity: or_text(number(0, 1_000_000), "^([0-9]{1,6}|1000000)$"));
value!(SomeQuantity: or_text(number(1, 1_000_000), "^([1-9][0-9]{0,5}|1000000)$"));
value!(TicketLimit: or_text(number(0, 10_000), "^([0-9]{1,4}|10000)$"));
value!(SeatLimit: or_text(number(1, 100), "^([1-9][0-9]?|100)$"));
value!(Price: or_text(
    rupees()
        .minimum(Some(0))
        .description(Some("Rupees: 0, or what can be paid at once (RAZORPAY_MAX_PAISE).")),
    r"^([0-9]{1,8}(\.[0-9]{1,2})?|[0-9]{1,7}\.[0-9]+)$"
));
value!(Total: or_text(rupees().minimum(Some(0.01)), r"^[1-9][0-9]{0,7}(\.[0-9]{1,2})?$"));
value!(Truth: or_text(ObjectBuilder::new().schema_type(Type::Boolean), "^(true|false)$"));
value!(Time: AnyOfBuilder::new()
    .item(text("2031-05-01T18:00:00.000Z").format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))))
    .item(text("2031-05-01T18:00+05:30").pattern(Some(
        r"^[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?(Z|[+-](0[0-9]|1[0-3]):?[0-5][0-9])?)?$"
    )))
    .description(Some("RFC 3339, the seconds or the zone left out if need be; without a zone it is UTC. A date alone is its midnight.")));
value!(Email: text("asha@nexus.example")
    .format(Some(SchemaFormat::KnownFormat(KnownFormat::IdnEmail)))
    .max_length(Some(254))
    .description(Some("The domain may be internationalised, what is before the @ not.")));
value!(Address: text("asha@nexus.example")
    .max_length(Some(254))
    .pattern(Some(r"^[^@\s\x00-\x1f\x7f-\x9f]+@[^@.\s\x00-\x1f\x7f-\x9f]+(\.[^@.\s\x00-\x1f\x7f-\x9f]+)+$"))
    .description(Some("Whatever registration has ever taken for an e-mail address.")));
value!(Phone: text("98765 43210")
    .pattern(Some(
        r"^[ ()-]*(\+[ ()-]*([1-8]([ ()-]*[0-9]){6,14}|9[ ()-]*[02-9]([ ()-]*[0-9]){5,13})|(\+[ ()-]*9[ ()-]*1([ ()-]*0)?|9[ ()-]*1)[ ()-]*[1-9]([ ()-]*[0-9]){9}|(0[ ()-]*)?[6-9]([ ()-]*[0-9]){9})[ ()-]*$"
    ))
    .description(Some("An Indian number of ten digits in any usual spelling, or `+` and 7 to 15 digits.")));
value!(Number: text("98765 43210")
    .pattern(Some(r"^[ ()-]*(\+[ ()-]*[1-9]([ ()-]*[0-9]){6,14}|9[ ()-]*1([ ()-]*[0-9]){10}|(0[ ()-]*)?[6-9]([ ()-]*[0-9]){9})[ ()-]*$"))
    .description(Some("Whatever registration has ever taken for a phone number.")));
value!(Password: text("Corr3ct-horse")
    .min_length(Some(8))
    .max_length(Some(128))
    .pattern(Some(r"^(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])(?=.*[!-/:-@\[-`{-~])"))
    .description(Some("With an upper-case and a lower-case letter, a digit and a special character.")));
value!(Otp: text("123456").pattern(Some("^[0-9]{4,6}$")));
value!(Label: text("V1")
    .pattern(Some("^ *[A-Za-z0-9]{1,20} *$"))
    .description(Some("Trimmed and upper-cased; unique within its seat type.")));

fn integer(from: i32, to: i32) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(from)).maximum(Some(to))
}

/// Decimals are cut off, as `parseInt` did in the Node service.
fn number(from: i32, to: i32) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Number)
        .minimum(Some(from))
        .maximum(Some(to))
        .description(Some("Decimals are cut off."))
}

fn rupees() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Number)
        .maximum(Some(99_999_999.99))
        .description(Some("Rupees."))
}

fn text(example: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).examples([example])
}

/// Of a JSON type of its own, or the same as text.
fn or_text(schema: ObjectBuilder, pattern: &str) -> AnyOfBuilder {
    AnyOfBuilder::new()
        .item(schema)
        .item(ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)))
}

#[derive(ToSchema)]
pub(super) struct Register {
    password: Password,
    email: Option<Email>,
    phone: Option<Phone>,
    /// Letters, digits, and single `_` and `-`, the first a letter; unique whatever its case.
    #[schema(
        min_length = 3,
        max_length = 30,
        pattern = "^[A-Za-z][A-Za-z0-9]*([_-][A-Za-z0-9]+)*[_-]?$",
        example = "asha"
    )]
    username: Option<String>,
    /// Two letters at least, when HTML tags are gone.
    #[schema(
        max_length = 100,
        pattern = r"^[^<>\s\x00-\x1f\x7f-\x9f][^<>]*[^<>\s\x00-\x1f\x7f-\x9f]",
        example = "Asha Rao"
    )]
    name: Option<String>,
    address: Option<String>,
    city: Option<String>,
    state: Option<String>,
    zip: Option<String>,
    country: Option<String>,
}

#[derive(ToSchema)]
pub(super) struct Login {
    email: Option<Address>,
    /// Not looked at if there is an e-mail address.
    phone: Option<Number>,
    #[schema(min_length = 1, example = "Corr3ct-horse")]
    password: String,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Logout {
    /// Ended, too, if it is the caller's.
    refresh_token: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Refresh {
    #[schema(min_length = 1)]
    refresh_token: String,
}

#[derive(ToSchema)]
pub(super) struct SendOtp {
    phone: Phone,
}

#[derive(ToSchema)]
pub(super) struct VerifyOtp {
    phone: Phone,
    otp: Otp,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct ResetPassword {
    phone: Phone,
    otp: Otp,
    #[schema(min_length = 8, max_length = 128, example = "Corr3ct-horse")]
    new_password: String,
}

#[derive(ToSchema)]
pub(super) struct CheckUsername {
    #[schema(min_length = 1, pattern = r"[^\s\x00-\x1f\x7f-\x9f]", example = "asha")]
    username: String,
}

#[derive(ToSchema)]
pub(super) struct ListEvents {
    /// Such as `draft`, for organisers who give their `organizer_id`, too.
    status: Option<String>,
    is_public: Option<Truth>,
    organizer_id: Option<Id>,
    #[schema(minimum = 1, maximum = 100, default = 10)]
    limit: Option<i32>,
    #[schema(minimum = 0, default = 0)]
    offset: Option<i32>,
}

#[derive(ToSchema)]
pub(super) struct OneEvent {
    #[schema(rename = "eventId")]
    event_id: Id,
}

#[derive(ToSchema)]
pub(super) struct CreateEvent {
    #[schema(
        min_length = 1,
        max_length = 255,
        pattern = r"[^\s\x00-\x1f\x7f-\x9f]",
        example = "Monsoon Jazz Night"
    )]
    name: String,
    #[schema(
        min_length = 1,
        max_length = 20_000,
        pattern = r"[^\s\x00-\x1f\x7f-\x9f]",
        example = "Two sets under one roof."
    )]
    description: String,
    start_date: Time,
    /// Not before the start.
    end_date: Time,
    #[schema(
        min_length = 1,
        max_length = 255,
        pattern = r"[^\s\x00-\x1f\x7f-\x9f]",
        example = "Mumbai"
    )]
    location: String,
    #[schema(min_items = 1, max_items = 100)]
    seat_types: Vec<NewSeatType>,
    #[schema(max_length = 2_000)]
    image_url: Option<String>,
    #[schema(max_length = 255)]
    venue_name: Option<String>,
    /// `published` unless said otherwise.
    status: Option<EventStatus>,
    /// True unless said otherwise.
    is_public: Option<Truth>,
    /// Seats that one user can hold and own; 10 for 0 and unless said otherwise.
    max_tickets_per_user: Option<TicketLimit>,
}

#[derive(ToSchema)]
pub(super) struct NewSeatType {
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"[^\s\x00-\x1f\x7f-\x9f]",
        example = "VIP"
    )]
    name: String,
    price: Price,
    quantity: SomeQuantity,
    #[schema(max_length = 2_000)]
    description: Option<String>,
}

#[derive(ToSchema)]
pub(super) struct UpdateEvent {
    #[schema(rename = "eventId")]
    event_id: Id,
    #[schema(
        min_length = 1,
        max_length = 255,
        pattern = r"[^\s\x00-\x1f\x7f-\x9f]",
        example = "Monsoon Jazz Night"
    )]
    name: Option<String>,
    #[schema(min_length = 1, max_length = 20_000, pattern = r"[^\s\x00-\x1f\x7f-\x9f]")]
    description: Option<String>,
    start_date: Option<Time>,
    end_date: Option<Time>,
    #[schema(min_length = 1, max_length = 255, pattern = r"[^\s\x00-\x1f\x7f-\x9f]")]
    location: Option<String>,
    /// Null removes it.
    #[schema(max_length = 2_000)]
    image_url: Option<String>,
    /// Null removes it.
    #[schema(max_length = 255)]
    venue_name: Option<String>,
    status: Option<EventStatus>,
    is_public: Option<Truth>,
    max_tickets_per_user: Option<TicketLimit>,
}

#[derive(ToSchema)]
pub(super) struct CreateSeatType {
    #[schema(rename = "eventId")]
    event_id: Id,
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"[^\s\x00-\x1f\x7f-\x9f]",
        example = "Balcony"
    )]
    name: String,
    price: Price,
    quantity: Quantity,
    #[schema(max_length = 2_000)]
    description: Option<String>,
}

#[derive(ToSchema)]
pub(super) struct UpdateSeatType {
    #[schema(rename = "eventId")]
    event_id: Id,
    #[schema(rename = "seatTypeId")]
    seat_type_id: Id,
    #[schema(min_length = 1, max_length = 100, pattern = r"[^\s\x00-\x1f\x7f-\x9f]")]
    name: Option<String>,
    price: Option<Price>,
    /// Not below the number of seats that are locked or booked.
    quantity: Option<Quantity>,
    /// Null removes it.
    #[schema(max_length = 2_000)]
    description: Option<String>,
}

#[derive(ToSchema)]
pub(super) struct OneSeatType {
    #[schema(rename = "eventId")]
    event_id: Id,
    #[schema(rename = "seatTypeId")]
    seat_type_id: Id,
}

#[derive(ToSchema)]
pub(super) struct OneSeat {
    #[schema(rename = "eventId")]
    event_id: Id,
    #[schema(rename = "seatTypeId")]
    seat_type_id: Id,
    seat_label: Label,
}

#[derive(ToSchema)]
pub(super) struct LockSeats {
    #[schema(rename = "eventId")]
    event_id: Id,
    /// These, each once.
    #[schema(max_items = 100)]
    seats: Option<Vec<Seat>>,
    /// So many more, whichever are best; not more than 100 in all.
    best_available: Option<BestAvailable>,
}

#[derive(ToSchema)]
pub(super) struct Seat {
    seat_type_id: Id,
    seat_label: Label,
}

#[derive(ToSchema)]
pub(super) struct BestAvailable {
    seat_type_id: Id,
    count: SeatLimit,
}

#[derive(ToSchema)]
pub(super) struct CreateBooking {
    event_id: Id,
    /// Locked by the caller, each once.
    #[schema(min_items = 1)]
    seat_details: Vec<Seat>,
}

#[derive(ToSchema)]
pub(super) struct ListBookings {
    /// Such as `confirmed`.
    status: Option<String>,
    #[schema(minimum = 1, maximum = 100, default = 10)]
    limit: Option<i32>,
    #[schema(minimum = 0, default = 0)]
    offset: Option<i32>,
}

#[derive(ToSchema)]
pub(super) struct OneBooking {
    booking_id: Id,
}

#[derive(ToSchema)]
pub(super) struct CancelBooking {
    booking_id: Id,
    #[schema(example = "Changed my mind")]
    reason: Option<String>,
    /// Asking again with the same key answers what the first call did.
    #[schema(min_length = 1, max_length = 255)]
    idempotency_key: Option<String>,
}

#[derive(ToSchema)]
pub(super) struct ConfirmBooking {
    booking_id: Id,
    /// Razorpay is asked about it.
    #[schema(min_length = 1, example = "pay_29QQoUBi66xm2f")]
    payment_id: String,
    #[schema(example = "razorpay")]
    payment_gateway: Option<String>,
}

#[derive(ToSchema)]
pub(super) struct OneJob {
    job_id: String,
}

#[derive(ToSchema)]
pub(super) struct CreateOrder {
    booking_id: Id,
    /// The booking's total.
    amount: Total,
    /// `INR`, whatever its case.
    #[schema(pattern = "^(?:[Ii][Nn][Rr])?$", example = "INR")]
    currency: Option<String>,
}

#[derive(ToSchema)]
pub(super) struct OneOrder {
    /// Or a payment's id.
    #[schema(min_length = 1, example = "order_9A33XWu170gUtm")]
    order_id: String,
}
