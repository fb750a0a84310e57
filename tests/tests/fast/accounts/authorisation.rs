//! The authorisation matrix: `docs/authorisation.md` has a table of every route, command and page
//! and of what each kind of caller gets; this test tries every cell. It fails when a table is
//! incomplete or wrong, and prints the right one.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};

use futures_util::{StreamExt, stream};
use nexus_tests::conformance::{ASYNCAPI, OPENAPI};
use nexus_tests::repository::file;
use nexus_tests::shop::{PASSWORD, event_request};
use nexus_tests::{
    Booking, Client, Event, Method, Outcome, Response, SOON, SocketClient, Stack, Value,
    eventually, json, seen,
};

const CALLERS: [&str; 5] = ["anonymous", "other user", "owner", "organiser", "admin"];
/// bcrypt of [`PASSWORD`], with which accounts can be made in the database.
const PASSWORD_HASH: &str = "$2b$04$4ceu5Ie/vqM3eqL4mjxpvOC8N7FblA3NSnRhGPpKq9Mgu8TmdpN5O";
const OWNER: usize = 2;
const ORGANISER: usize = 3;
const ADMIN: usize = 4;
const ROWS_AT_ONCE: usize = 6;

/// One row of the table.
#[derive(Debug)]
struct Row {
    request: Option<(Method, String)>,
    command: Option<String>,
    /// What it is about, where that matters.
    about: String,
    outcomes: Vec<String>,
}

impl Row {
    fn parse(line: &str) -> Self {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 2 + CALLERS.len(), "cells of {line}");
        let mut row = Row {
            request: None,
            command: None,
            about: cells[1].to_owned(),
            outcomes: cells[2..].iter().map(|cell| (*cell).to_owned()).collect(),
        };
        for name in cells[0].split('`').skip(1).step_by(2) {
            match name.split_once(' ') {
                Some((method, path)) => {
                    row.request = Some((method.parse().unwrap(), path.to_owned()))
                }
                None => row.command = Some(name.to_owned()),
            }
        }
        row
    }

    /// The name under which the documents have it; pages have none.
    fn operation(&self) -> &str {
        let documented = self.request.as_ref().and_then(|(method, path)| {
            OPENAPI.at(&["paths", path, &method.as_str().to_ascii_lowercase()])["operationId"]
                .as_str()
        });
        documented.or(self.command.as_deref()).unwrap_or_default()
    }

    fn print(&self, outcomes: &[String]) -> String {
        let request = self.request.as_ref().map(|(method, path)| format!("`{method} {path}`"));
        let command = self.command.as_ref().map(|command| format!("`{command}`"));
        let names: Vec<_> = request.into_iter().chain(command).collect();
        format!("| {} | {} | {} |", names.join(" "), self.about, outcomes.join(" | "))
    }
}

fn table() -> Vec<Row> {
    let document = file("docs/authorisation.md");
    document.lines().filter(|line| line.starts_with("| `")).map(Row::parse).collect()
}

/// Every request that the API serves: those of the document, and the pages, which only the code
/// lists.
fn requests() -> BTreeSet<String> {
    let mut requests = BTreeSet::new();
    for (path, item) in OPENAPI.whole["paths"].as_object().unwrap() {
        let methods = item.as_object().unwrap().keys();
        requests.extend(methods.map(|method| format!("{} {path}", method.to_uppercase())));
    }
    for (base, code) in
        [("/admin", "api/src/admin/mod.rs"), ("/account", "api/src/account_pages.rs")]
    {
        for line in file(code).lines() {
            let Some((path, handlers)) =
                line.trim().strip_prefix(".route(\"").and_then(|rest| rest.split_once('"'))
            else {
                continue;
            };
            let path = format!("{base}{}", path.trim_end_matches('/'));
            for (call, method) in [("get(", "GET"), ("post(", "POST")] {
                if handlers.contains(call) {
                    requests.insert(format!("{method} {path}"));
                }
            }
        }
    }
    requests
}

fn commands() -> BTreeSet<String> {
    let operations = ASYNCAPI.whole["operations"].as_object().unwrap().iter();
    let received = operations.filter(|(_, operation)| operation["action"] == "receive");
    received.map(|(name, _)| name.clone()).collect()
}

#[test]
fn the_table_has_everything_that_can_be_asked_for_and_nothing_else() {
    let rows = table();
    let listed: BTreeSet<_> = rows
        .iter()
        .filter_map(|row| row.request.as_ref().map(|(method, path)| format!("{method} {path}")))
        .collect();
    assert_eq!(listed, requests(), "requests of the table and those that there are");
    let listed: BTreeSet<_> = rows.iter().filter_map(|row| row.command.clone()).collect();
    assert_eq!(listed, commands(), "commands of the table and those that there are");
}

/// One of each kind of caller, and a shop to ask things of.
struct Fixture {
    stack: Stack,
    /// In the order of [`CALLERS`].
    people: Vec<Client>,
    emails: Vec<String>,
    sockets: Vec<SocketClient>,
    /// A job that makes tickets for the owner.
    ticket_job: String,
    next: AtomicI64,
}

impl Fixture {
    async fn new() -> Self {
        let stack = Stack::builder()
            .workers(["otp"])
            .env("RATE_LIMIT_EVENTS", "10000/1d")
            .env("RATE_LIMIT_USER", "10000/1m")
            .env("UNPAID_SEATS_PER_ACCOUNT", "10000")
            .env("UNPAID_BOOKINGS_PER_ACCOUNT", "10000")
            .start()
            .await;
        let (mut people, mut sockets, mut emails) = (vec![], vec![], vec![]);
        for (number, name) in CALLERS.into_iter().enumerate() {
            let mut client = stack.anonymous();
            let email = format!("caller-{number}@nexus.example");
            if number > 0 {
                let account = json!({"email": email, "password": PASSWORD});
                client =
                    client.clone().logged_in(&client.post("/auth/register", account).await.data());
            }
            sockets.push(stack.socket(name, &client).await);
            people.push(client);
            emails.push(email);
        }
        stack.api_cli_ok(&["set-role", &people[ADMIN].id.to_string(), "admin"]).await;
        people[ADMIN] = stack.operator(&people[ADMIN]).await;
        let mut fixture = Self {
            stack,
            people,
            emails,
            sockets,
            ticket_job: String::new(),
            next: AtomicI64::new(1),
        };
        let paid = fixture.paid(&fixture.event("").await).await;
        let confirmed = fixture.sockets[OWNER].call_ok("confirm_booking", paid).await;
        fixture.ticket_job = confirmed["ticket_generation"]["jobId"].as_str().unwrap().to_owned();
        fixture
    }

    fn number(&self) -> i64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// An event of the organiser's.
    async fn event(&self, about: &str) -> Event {
        let mut request = event_request(&[("VIP", 100.0, 50)]);
        match about {
            "a draft" => request["status"] = json!("draft"),
            "a private event" => request["is_public"] = json!(false),
            _ => {}
        }
        let event = Event::from_created(
            &self.people[ORGANISER].post("/events/create", request).await.data(),
        );
        if about == "a cancelled event" {
            let cancelled = json!({"status": "cancelled"});
            self.people[ORGANISER].put(&format!("/events/{}", event.id), cancelled).await.ok();
        }
        event
    }

    /// A booking of the owner's that has been paid and not yet confirmed, as `confirm_booking`
    /// wants it.
    async fn paid(&self, event: &Event) -> Value {
        let booking = self.people[OWNER].lock_and_book(event, &[("VIP", "A1")]).await;
        let order = self.people[OWNER].order(&booking).await;
        let payment = self.stack.pay(&order, Outcome::Captured);
        json!({"booking_id": booking.id, "payment_id": payment.id})
    }

    async fn booking(&self) -> Booking {
        self.people[OWNER].lock_and_book(&self.event("").await, &[("VIP", "A1")]).await
    }

    /// A confirmed booking of the owner's, with a ticket.
    async fn tickets(&self) -> Value {
        let paid = self.paid(&self.event("").await).await;
        self.sockets[OWNER].call_ok("confirm_booking", paid.clone()).await;
        let insert = format!(
            "INSERT INTO tickets (booking_id, ticket_id, seat_label, price_paid, qr_nonce, qr_key, qr_signature, status)
             VALUES ({}, 'TKT-{}', 'A1', 100, 1, '01020304', decode(repeat('00', 64), 'hex'), 'generated')",
            paid["booking_id"],
            self.number(),
        );
        self.stack.execute(&insert).await;
        paid["booking_id"].clone()
    }

    /// The id of that ticket.
    async fn ticket(&self) -> Value {
        let booking = self.tickets().await;
        let row =
            self.stack.row(&format!("SELECT id FROM tickets WHERE booking_id = {booking}")).await;
        row["id"].clone()
    }

    /// An offer of a ticket: to the owner by the organiser, or by the owner to nobody's address.
    async fn offered(&self, to: usize) -> Value {
        let ticket = self.ticket().await;
        let from = if to == OWNER { ORGANISER } else { OWNER };
        let (from, owner) = (self.people[from].id, self.people[OWNER].id);
        if to == OWNER {
            let given = format!(
                "UPDATE tickets SET owner_id = {from}, qr_nonce = qr_nonce + 1 WHERE id = {ticket}"
            );
            self.stack.execute(&given).await;
            self.stack
                .execute(&format!("UPDATE users SET email_verified_at = now() WHERE id = {owner}"))
                .await;
        }
        let insert = format!(
            "INSERT INTO ticket_transfers (ticket_id, from_id, to_email) VALUES ({ticket}, {from}, $1) RETURNING id::text"
        );
        json!(self.inserted(&insert, &self.emails[to]).await)
    }

    /// An unused phone number, and a code that has just been sent to it.
    async fn phone_and_code(&self) -> Value {
        let phone = format!("+9198{:08}", self.number());
        self.stack.anonymous().post("/auth/send-otp", json!({"phone": phone})).await.ok();
        let sent = eventually("the code is sent", SOON, async || {
            self.stack.providers.otp(&phone).ok_or_else(|| "none".to_owned())
        });
        json!({"phone": phone, "otp": sent.await.code})
    }

    /// What the link in a mail to a new user ends with.
    async fn mailed_link(&self, purpose: &str) -> String {
        let number = self.number();
        let insert = format!(
            "WITH addressee AS (INSERT INTO users (email, password, email_verified_at) VALUES ('addressee-{number}@nexus.example', '{PASSWORD_HASH}', now()) RETURNING id, email)
             INSERT INTO email_proofs (user_id, purpose, email, link_hash, expires_at)
             SELECT id, '{purpose}', email, sha256('link-{number}'), now() + interval '1 hour' FROM addressee"
        );
        self.stack.execute(&insert).await;
        format!("link-{number}")
    }

    /// The input of `operation`: fields of path, query, body or payload. Rows that it needs are
    /// made for this request alone.
    async fn input(&self, operation: &str, about: &str) -> Value {
        match operation {
            "register" => {
                json!({"email": format!("new-{}@nexus.example", self.number()), "password": PASSWORD})
            }
            "login" => json!({"email": self.emails[OWNER], "password": PASSWORD}),
            "refresh_token" => json!({"refreshToken": self.people[OWNER].refresh_token}),
            "check_username" => json!({"username": "nobody"}),
            "send_otp" => json!({"phone": format!("+9197{:08}", self.number())}),
            "verify_otp" => self.phone_and_code().await,
            "reset_password" => {
                let mut input = self.phone_and_code().await;
                let phone = input["phone"].as_str().unwrap();
                self.stack.execute(&format!("INSERT INTO users (phone) VALUES ('{phone}')")).await;
                input["newPassword"] = json!(PASSWORD);
                input
            }
            "forgot_password" => {
                json!({"email": format!("nobody-{}@nexus.example", self.number())})
            }
            "recover_password" => {
                json!({"token": self.mailed_link("recover").await, "newPassword": PASSWORD})
            }
            "verify_email" => {
                json!({"token": self.mailed_link("verify").await, "password": PASSWORD})
            }
            "end_session" => {
                let insert = "INSERT INTO sessions (id, user_id, expires_at, network) VALUES (gen_random_uuid(), $1, now() + interval '1 day', '')
                              RETURNING id::text";
                let id = sqlx::query_scalar::<_, String>(insert).bind(self.people[OWNER].id as i32);
                json!({"session_id": id.fetch_one(&self.stack.db).await.unwrap()})
            }
            "change_password" => json!({"currentPassword": PASSWORD, "newPassword": PASSWORD}),
            "change_email" => {
                let email = format!("new-{}@nexus.example", self.number());
                json!({"email": email, "password": PASSWORD})
            }
            "change_phone" => {
                let mut input = self.phone_and_code().await;
                input["password"] = json!(PASSWORD);
                input
            }
            "create_event" => event_request(&[("VIP", 100.0, 50)]),
            "get_ticket_job" => json!({"job_id": self.ticket_job}),
            "get_tickets_pdf" | "get_calendar" | "get_passes" | "get_wallet_links" => {
                json!({"booking_id": self.tickets().await})
            }
            "name_holders" => {
                let booking = self.booking().await.id;
                let seat = format!(
                    "SELECT seat_id::text FROM booking_seats WHERE booking_id = {booking} AND $1 <> ''"
                );
                let seat = self.inserted(&seat, "seat").await;
                json!({"booking_id": booking, "holders": [{"seat_id": seat, "holder_name": "Ravi"}]})
            }
            "offer_transfer" => {
                json!({"id": self.ticket().await, "email": format!("friend-{}@nexus.example", self.number())})
            }
            "accept_transfer" | "end_transfer" => {
                let to = if about == "offered to the owner" { OWNER } else { 0 };
                json!({"transfer_id": self.offered(to).await})
            }
            "list_holders" => json!({"eventId": self.event(about).await.id}),
            "get_booking" | "get_tickets" | "cancel_booking" => {
                json!({"booking_id": self.booking().await.id})
            }
            "create_order" => {
                let booking = self.booking().await;
                json!({"booking_id": booking.id, "amount": booking.total, "currency": "INR"})
            }
            "verify_payment" => {
                json!({"order_id": self.people[OWNER].order(&self.booking().await).await})
            }
            "confirm_booking" => self.paid(&self.event("").await).await,
            "create_booking" => {
                let event = self.event(about).await;
                if about == "the owner's lock" {
                    self.people[OWNER].lock(&event, "VIP", "A1").await.ok();
                }
                let seat = json!({"seat_label": "A1", "seat_type_id": event.seat_type("VIP")});
                json!({"event_id": event.id, "seat_details": [seat]})
            }
            "get_queue" | "join_queue" | "leave_queue" | "get_draw" => {
                self.about_a_waiting_room(operation, about).await
            }
            "get_cancellation" => json!({"eventId": self.event("a cancelled event").await.id}),
            "join_event" | "leave_event" => json!(self.event("").await.id),
            "get_ticket_keys"
            | "list_staff"
            | "list_gates"
            | "list_door_keys"
            | "get_check_in_counts"
            | "add_staff"
            | "remove_staff"
            | "create_gate"
            | "update_gate"
            | "delete_gate"
            | "create_door_key"
            | "revoke_door_key"
            | "check_in"
            | "undo_check_in"
            | "search_tickets"
            | "get_door"
            | "upload_check_ins"
            | "list_conflicts" => self.about_a_door(operation, about).await,
            _ => self.about_an_event(operation, about).await,
        }
    }

    async fn about_an_event(&self, operation: &str, about: &str) -> Value {
        let of_an_event =
            ["get_event", "list_seat_types", "get_seats", "update_event", "delete_event"]
                .contains(&operation)
                || operation.contains("seat_type")
                || operation.contains("lock");
        if !of_an_event {
            return json!({});
        }
        let event = self.event(about).await;
        let seat_type = event.seat_type("VIP");
        let mut input = json!({"eventId": event.id});
        match operation {
            "update_event" => input["location"] = json!("Pune"),
            "create_seat_type" => {
                (input["name"], input["price"], input["quantity"]) =
                    (json!("Floor"), json!(1), json!(1));
            }
            "update_seat_type" => {
                (input["seatTypeId"], input["quantity"]) = (json!(seat_type), json!(60));
            }
            "delete_seat_type" => input["seatTypeId"] = json!(seat_type),
            "lock_seats" => {
                input["seats"] = json!([{"seat_type_id": seat_type, "seat_label": "A1"}]);
            }
            "lock_seat" | "unlock_seat" | "extend_lock" => {
                (input["seatTypeId"], input["seat_label"]) = (json!(seat_type), json!("A1"));
                if operation != "lock_seat" {
                    self.people[OWNER].lock(&event, "VIP", "A1").await.ok();
                }
            }
            _ => {}
        }
        input
    }

    async fn about_a_waiting_room(&self, operation: &str, about: &str) -> Value {
        let event = self.event(about).await.id;
        self.waiting_room(event).await;
        match operation {
            "leave_queue" => {
                let owner = self.people[OWNER].id;
                let visit = format!(
                    "INSERT INTO waiting_room_visitors (event_id, user_id) VALUES ({event}, {owner})"
                );
                self.stack.execute(&visit).await;
            }
            "get_queue" => {
                let path = format!("/events/{event}/queue");
                eventually("a room that is known", SOON, async || {
                    let answer = self.people[ORGANISER].get(&path).await;
                    seen(answer.status == 200, answer)
                })
                .await;
            }
            "join_queue" => {
                self.stack
                    .execute(
                        "UPDATE users SET email_verified_at = now() WHERE email LIKE 'caller-%'",
                    )
                    .await;
            }
            _ => {}
        }
        json!({ "eventId": event })
    }

    /// Gives an event a waiting room that has been drawn and is paused.
    async fn waiting_room(&self, event: i64) {
        let room = format!(
            "WITH room AS (INSERT INTO waiting_rooms (event_id, state, opens_at, seed, drawn_at, pace)
                           VALUES ({event}, 'paused', now(), sha256('seed'), now(), 1) RETURNING event_id)
             INSERT INTO waiting_room_draws (event_id, list_digest, visitors) SELECT event_id, sha256(''), '{{}}' FROM room"
        );
        self.stack.execute(&room).await;
    }

    async fn about_a_door(&self, operation: &str, about: &str) -> Value {
        let event = self.event(about).await.id;
        let mut input = json!({"eventId": event});
        let made = async |insert: &str| {
            self.inserted(&format!("{insert} RETURNING id::text"), &self.number().to_string()).await
        };
        match operation {
            "add_staff" => {
                let insert = "INSERT INTO users (email, email_verified_at) VALUES ('staff-' || $1 || '@nexus.example', now()) RETURNING email";
                input["account"] = json!(self.inserted(insert, &self.number().to_string()).await);
            }
            "remove_staff" => {
                let insert = format!(
                    "INSERT INTO event_staff (event_id, user_id, named_as) SELECT {event}, {}, $1 WHERE $1 <> '' RETURNING user_id::text",
                    self.people[OWNER].id
                );
                input["userId"] = json!(self.inserted(&insert, "staff").await);
            }
            "create_gate" | "create_door_key" => input["name"] = json!("North"),
            "update_gate" | "delete_gate" => {
                let insert = format!("INSERT INTO gates (event_id, name) VALUES ({event}, $1)");
                input["gateId"] = json!(made(&insert).await);
                if operation == "update_gate" {
                    input["name"] = json!("North");
                }
            }
            "revoke_door_key" => {
                let insert = format!(
                    "INSERT INTO door_keys (event_id, name, hash) VALUES ({event}, $1, sha256(convert_to('key ' || $1, 'UTF8')))"
                );
                input["doorKeyId"] = json!(made(&insert).await);
            }
            "check_in" => input["text"] = json!("no ticket"),
            "upload_check_ins" => input["scans"] = json!([]),
            "undo_check_in" => {
                let insert = format!(
                    "WITH booking AS (INSERT INTO bookings (booking_reference, event_id, user_id, total_amount, status, payment_status, confirmed_at)
                                      VALUES ('BKG-' || $1, {event}, {buyer}, 0, 'confirmed', 'completed', now()) RETURNING id),
                          ticket AS (INSERT INTO tickets (booking_id, ticket_id, seat_label, price_paid, status)
                                     SELECT id, 'TKT-' || $1, 'A1', 0, 'used' FROM booking RETURNING id)
                     INSERT INTO check_ins (event_id, scan_id, ticket_id, user_id, by_hand)
                     SELECT {event}, gen_random_uuid(), id, {organiser}, FALSE FROM ticket RETURNING scan_id::text",
                    buyer = self.people[OWNER].id,
                    organiser = self.people[ORGANISER].id,
                );
                let name = format!("undone-{}", self.number());
                input["scanId"] = json!(self.inserted(&insert, &name).await);
            }
            "search_tickets" => input["q"] = json!("Asha"),
            _ => {}
        }
        input
    }

    /// The caller of an operation; one that ends sessions gets a session of its own.
    async fn caller(&self, operation: &str, caller: usize) -> Client {
        if (operation.starts_with("logout") || operation == "change_password") && caller > 0 {
            let user = self.stack.user().await;
            self.stack
                .execute(&format!(
                    "UPDATE users SET password = '{PASSWORD_HASH}' WHERE id = {}",
                    user.id
                ))
                .await;
            user
        } else if operation == "delete_account" && caller > 0 {
            self.stack.user().await
        } else if operation == "resend_verification" && caller > 0 {
            // Somebody who has an address to prove.
            let user = self.stack.user().await;
            self.stack
                .execute(&format!(
                    "UPDATE users SET email_verified_at = NULL WHERE id = {}",
                    user.id
                ))
                .await;
            user
        } else {
            self.people[caller].clone()
        }
    }

    /// Asks over HTTP.
    async fn request(
        &self,
        row: &Row,
        (method, path): &(Method, String),
        caller: usize,
    ) -> Response {
        if path.starts_with("/admin") || path.starts_with("/account") {
            return self.page(method, path, caller).await;
        }
        let operation = row.operation();
        let client = self.caller(operation, caller).await;
        let mut input = self.input(operation, &row.about).await;
        let mut path = path.clone();
        let fields = input.as_object_mut().unwrap();
        for name in fields.keys().cloned().collect::<Vec<_>>() {
            let place = format!("{{{name}}}");
            if path.contains(&place) {
                let value = fields.remove(&name).unwrap();
                path = path.replace(&place, value.as_str().unwrap_or(&value.to_string()));
            }
        }
        let request = client.request_root(method.clone(), &path);
        let request = request.header("x-forwarded-for", client.address().to_string());
        Response::to(match *method {
            Method::GET | Method::DELETE => request.query(fields),
            _ => request.json(fields),
        })
        .await
    }

    /// Asks for a page, or submits one of its forms.
    async fn page(&self, method: &Method, path: &str, caller: usize) -> Response {
        // A kind of its own, so that no other request retries or discards it.
        let kind = format!("matrix_{}", self.number());
        let id = match path.split('/').nth(2) {
            Some("alerts") => {
                let insert = "INSERT INTO payment_alerts (reason, subject, details) VALUES ('unreadable', $1, '') RETURNING id::text";
                self.inserted(insert, &kind).await
            }
            Some("accounts") => {
                let suspended = if path.ends_with("reinstate") { "now()" } else { "NULL" };
                let insert = format!(
                    "INSERT INTO users (name, suspended_at) VALUES ($1, {suspended}) RETURNING id::text"
                );
                self.inserted(&insert, &kind).await
            }
            Some("events") => {
                let event = self.event("").await.id;
                if path.ends_with("restore") {
                    let down = "UPDATE events SET taken_down_at = now() WHERE id =";
                    self.stack.execute(&format!("{down} {event}")).await;
                }
                event.to_string()
            }
            Some("waiting-rooms") => {
                let event = self.event("").await.id;
                self.waiting_room(event).await;
                event.to_string()
            }
            _ => {
                let insert = "INSERT INTO jobs (id, queue, kind, payload, state, attempt, max_attempts, started_at, finished_at)
                              VALUES (gen_random_uuid(), 'cleanup', $1, '{}', 'dead', 1, 1, now(), now()) RETURNING id::text";
                self.inserted(insert, &kind).await
            }
        };
        let mut client = self.people[caller].clone();
        let mut code = String::new();
        if let Some(operator) = client.operator.clone() {
            if path == "/admin/login" {
                code = self.stack.fresh_code(client.id, &operator.secret).await;
            } else if path == "/admin/logout" {
                // A session of its own.
                client = self.stack.log_in_to_pages(&client, &operator.secret).await;
            }
        }
        let token = client.operator.as_ref().map(|operator| operator.form_token.clone());
        let path = path.replace("{id}", &id).replace("{act}", "close");
        let request = client.request_root(method.clone(), &path);
        let fields = [
            ("kind", kind.as_str()),
            ("login", self.emails[caller].as_str()),
            ("password", PASSWORD),
            ("code", &code),
            ("reason", "a test"),
            ("token", token.as_deref().unwrap_or_default()),
        ];
        Response::to(if *method == Method::GET {
            request.query(&fields[..1])
        } else {
            request.form(&fields)
        })
        .await
    }

    /// The id of a row that is made for one request.
    async fn inserted(&self, insert: &str, name: &str) -> String {
        let id = sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(insert)).bind(name);
        id.fetch_one(&self.stack.db).await.unwrap()
    }

    /// The outcome of a row for a caller, over HTTP and, if it is a command, over a socket.
    async fn outcome(&self, row: &Row, caller: usize) -> String {
        let response = match &row.request {
            Some(request) => Some(self.request(row, request, caller).await),
            None => None,
        };
        let http = response.as_ref().map(|response| {
            let place =
                response.headers.get("location").map(|place| place.to_str().unwrap().to_owned());
            let what = match place {
                Some(place) if place == "/admin/login" => place,
                _ => response.body["error"]["code"].as_str().unwrap_or_default().to_owned(),
            };
            format!("{} {what}", response.status).trim().to_owned()
        });
        let Some(command) = &row.command else { return http.unwrap_or_default() };
        let input = self.input(row.operation(), &row.about).await;
        let said = self.sockets[caller].call(command, &[input]).await;
        let said = said["error"].as_str().unwrap_or("ok").to_owned();
        let (Some(http), Some(response)) = (http, response) else { return said };
        let expected = match (caller, response.status) {
            (0, _) => "Authentication required",
            (_, 200) => "ok",
            _ => response.message(),
        };
        if said == expected { http } else { format!("{http}, but over a socket: {said}") }
    }
}

#[tokio::test]
async fn everybody_gets_what_the_table_says() {
    let fixture = Fixture::new().await;
    let rows = table();
    let tried = stream::iter(&rows).map(async |row| {
        let mut outcomes = Vec::new();
        for caller in 0..CALLERS.len() {
            outcomes.push(fixture.outcome(row, caller).await);
        }
        outcomes
    });
    let tried: Vec<Vec<String>> = tried.buffered(ROWS_AT_ONCE).collect().await;
    let lines = |outcomes: Vec<&[String]>| -> Vec<String> {
        rows.iter().zip(outcomes).map(|(row, outcomes)| row.print(outcomes)).collect()
    };
    let written = lines(rows.iter().map(|row| row.outcomes.as_slice()).collect());
    let true_ones = lines(tried.iter().map(Vec::as_slice).collect());
    let wrong: Vec<_> =
        written.iter().zip(&true_ones).filter(|(written, is)| written != is).collect();
    assert!(
        wrong.is_empty(),
        "{} rows are wrong: {wrong:#?}\nwhat holds:\n{}",
        wrong.len(),
        true_ones.join("\n")
    );
}

/// What the document says in a sentence.
#[tokio::test]
async fn an_auditor_sees_what_an_admin_sees_and_changes_nothing() {
    let mut fixture = Fixture::new().await;
    let auditor = fixture.people[ADMIN].clone();
    let id = auditor.id.to_string();
    fixture.stack.api_cli_ok(&["set-role", &id, "auditor"]).await;
    let secret = auditor.operator.as_ref().unwrap().secret.clone();
    fixture.people[ADMIN] = fixture.stack.log_in_to_pages(&auditor, &secret).await;
    let before =
        fixture.stack.count("audit_log WHERE action LIKE 'job%' OR action LIKE 'event_t%'");
    assert_eq!(before.await, 0);
    let pages = table()
        .into_iter()
        .filter(|row| row.request.as_ref().is_some_and(|(_, path)| path.starts_with("/admin")));
    let mut seen = 0;
    for row in pages {
        let (method, path) = row.request.clone().unwrap();
        let expected = match path.as_str() {
            "/admin/login" | "/admin/logout" => row.outcomes[ADMIN].clone(),
            _ if method == Method::GET => row.outcomes[ADMIN].clone(),
            _ => "403".to_owned(),
        };
        assert_eq!(fixture.outcome(&row, ADMIN).await, expected, "{method} {path}");
        seen += 1;
    }
    assert!(seen > 15, "{seen}");
    let after = fixture.stack.count("audit_log WHERE action LIKE 'job%' OR action LIKE 'event_t%'");
    assert_eq!(after.await, 0);
}

#[tokio::test]
async fn a_token_that_is_not_good_opens_nothing() {
    let stack = Stack::builder().workers([]).start().await;
    let user = stack.user().await;
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let revoked = stack.sign_token(
        &json!({"userId": user.id, "type": "access", "iat": now - 1, "exp": now + 900}),
    );
    let session = stack.anonymous().with_token(user.id, revoked.clone());
    session.post("/auth/logout", json!({})).await.ok();
    let expired = json!({"userId": user.id, "type": "access", "iat": now - 3600, "exp": now - 1});
    let refresh = json!({"userId": user.id, "type": "refresh", "iat": now, "exp": now + 900});
    let good = user.token.clone().unwrap();
    let unsigned = good.rsplit_once('.').unwrap().0;
    let tokens = [
        (revoked.clone(), "token_revoked"),
        (stack.sign_token(&expired), "token_invalid"),
        (stack.sign_token(&refresh), "token_type"),
        (format!("{unsigned}."), "token_invalid"),
        (format!("{unsigned}.{}", "A".repeat(43)), "token_invalid"),
    ];
    let private = table().into_iter().filter(|row| row.outcomes[0] == "401 token_missing");
    let private: Vec<_> = private.filter_map(|row| row.request).collect();
    assert!(private.len() > 20, "{private:?}");
    let before = stack.contents().await;
    for (method, path) in &private {
        for (token, code) in &tokens {
            let path = path.split('/').map(|part| if part.starts_with('{') { "1" } else { part });
            let client = stack.anonymous().with_token(user.id, token.clone());
            let response = Response::to(
                client
                    .request_root(method.clone(), &path.collect::<Vec<_>>().join("/"))
                    .json(&json!({})),
            );
            let response = response.await;
            assert_eq!(
                (response.status, &response.body["error"]["code"]),
                (401, &json!(code)),
                "{response}"
            );
        }
    }
    let socket = stack.socket("who has logged out", &session).await;
    let silent = ["join_event", "leave_event"];
    for command in commands().iter().filter(|command| !silent.contains(&command.as_str())) {
        let response = socket.call(command, &[json!({})]).await;
        assert_eq!(response["error"], "Authentication required", "{command}");
    }
    assert_eq!(stack.contents().await, before, "rows");
}
