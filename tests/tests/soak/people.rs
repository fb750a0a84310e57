//! What people do all day: each of them the same, over and over, undeterred.

use std::rc::Rc;
use std::time::Duration;

use nexus_tests::dice::Dice;
use nexus_tests::shop::{PASSWORD, event_request};
use nexus_tests::{Client, Event, Method, SocketClient, Stack, Value, json};
use tokio::task::JoinSet;

use crate::dice;
use crate::world::{World, users};

const BUYERS: usize = 10;
/// Seats of an event; few, so that they are fought for.
const SEATS: u32 = 40;

/// Everybody begins.
pub(crate) async fn arrive(world: &Rc<World>, stack: &Stack, people: &mut JoinSet<()>) {
    for _ in 0..2 {
        let created =
            stack.event(&world.organiser, &[("VIP", 100.0, SEATS), ("Standing", 0.0, SEATS)]).await;
        world.events.borrow_mut().push(created);
    }
    for (n, buyer) in users(stack, &world.http, BUYERS).await.into_iter().enumerate() {
        if n < 2 {
            let options = json!({"url": world.urls[n % 2]});
            let socket = stack.socket_with("a buyer with a socket", &buyer, options).await;
            people.spawn_local(clicks(world.clone(), socket, dice(world.seed, n as u64)));
        } else {
            people.spawn_local(buys(world.clone(), buyer, dice(world.seed, n as u64)));
        }
    }
    let viewer =
        stack.socket_with("a viewer", &stack.anonymous(), json!({"url": world.urls[1]})).await;
    people.spawn_local(listens(world.clone(), viewer));
    people.spawn_local(registers(world.clone()));
    people.spawn_local(uses_codes(world.clone()));
    people.spawn_local(browses(world.clone()));
    people.spawn_local(organises(world.clone(), dice(world.seed, 100)));
    people.spawn_local(administers(world.clone()));
    people.spawn_local(errs(world.clone()));
}

/// Locks a seat or two, extends, gives back, books, pays, cancels: or leaves at any point.
async fn buys(world: Rc<World>, buyer: Client, mut dice: Dice) {
    while !world.is_over() {
        world.pause(dice.pause(100, 800)).await;
        buy(&world, &buyer, &mut dice).await;
    }
}

async fn buy(world: &World, buyer: &Client, dice: &mut Dice) -> Option<()> {
    let event = some_event(world, dice);
    let kind = if dice.below(5) == 0 { "Standing" } else { "VIP" };
    let seat_type = event.seat_type(kind);
    let label = format!("A{}", 1 + dice.below(u64::from(SEATS)));
    let lock = format!("/seats/{}/seat-types/{seat_type}/lock", event.id);
    let seat = json!({"seat_label": label});
    let labels: Vec<Value> = if dice.below(4) == 0 {
        let best = json!({"best_available": {"seat_type_id": seat_type, "count": 2}});
        let locked = world
            .ask("lock best", buyer, Method::POST, &format!("/seats/{}/locks", event.id), best)
            .await?;
        locked.body["data"]["locks"]
            .as_array()?
            .iter()
            .map(|lock| lock["seat_label"].clone())
            .collect()
    } else {
        let locked = world.ask("lock", buyer, Method::POST, &lock, seat.clone()).await?;
        (locked.status == 200).then(|| vec![json!(label)])?
    };
    match dice.below(10) {
        0 => {
            world.ask("extend", buyer, Method::POST, &format!("{lock}/extend"), seat).await;
        }
        1 => {
            world
                .ask(
                    "unlock",
                    buyer,
                    Method::DELETE,
                    &format!("{lock}?seat_label={label}"),
                    Value::Null,
                )
                .await;
            return None;
        }
        2 => return None,
        _ => {}
    }
    let seats: Vec<Value> = labels
        .iter()
        .map(|label| json!({"seat_label": label, "seat_type_id": seat_type}))
        .collect();
    let request = json!({"event_id": event.id, "seat_details": seats});
    let booked = world.insist("book", buyer, Method::POST, "/bookings/create", &request).await?;
    let booking = booked.body["data"]["booking"].clone();
    let id = booking["id"].as_i64()?;
    if dice.below(10) == 0 {
        return None;
    }
    let order = json!({"booking_id": id, "amount": booking["total_amount"], "currency": "INR"});
    if booking["total_amount"] != 0 {
        let order =
            world.insist("order", buyer, Method::POST, "/payments/create-order", &order).await?;
        let order = order.body["data"]["order_id"].as_str()?.to_owned();
        let outcomes: &[&str] = match dice.below(10) {
            0 => &["failed", "captured"],
            1 => &["captured", "captured"],
            2 | 3 => &["authorized"],
            _ => &["captured"],
        };
        for outcome in outcomes {
            if world.pay(&order, outcome).await {
                world.record.note("paid");
            }
        }
    }
    if dice.below(3) == 0 {
        world.pause(dice.pause(200, 3_000)).await;
        let cancel = format!("/bookings/{id}/cancel");
        world
            .insist("cancel booking", buyer, Method::POST, &cancel, &json!({"reason": "rain"}))
            .await;
    }
    world.ask("look at bookings", buyer, Method::GET, "/bookings/my-bookings", Value::Null).await;
    Some(())
}

fn some_event(world: &World, dice: &mut Dice) -> Event {
    let events = world.events.borrow();
    events[dice.below(events.len() as u64) as usize].clone()
}

/// The same over a socket. What is answered meanwhile may be lost with its process, and is not
/// waited for.
async fn clicks(world: Rc<World>, socket: SocketClient, mut dice: Dice) {
    while !world.is_over() {
        let event = some_event(&world, &mut dice);
        let seat_type = event.seat_type("VIP");
        let label = format!("A{}", 1 + dice.below(u64::from(SEATS)));
        let seat = json!({"eventId": event.id, "seatTypeId": seat_type, "seat_label": label});
        let (command, payload) = match dice.below(6) {
            0 => ("join_event", json!({"event_id": event.id})),
            1 => ("unlock_seat", seat),
            2 => ("extend_lock", seat),
            3 => {
                let seats = json!([{"seat_label": label, "seat_type_id": seat_type}]);
                ("create_booking", json!({"event_id": event.id, "seat_details": seats}))
            }
            _ => ("lock_seat", seat),
        };
        socket.emit(command, &[payload]).await;
        world.pause(dice.pause(200, 700)).await;
        for name in socket.event_names() {
            if name.ends_with("_response") {
                world.record.note("command answered");
            }
        }
        socket.forget();
    }
}

/// Hears what everybody does.
async fn listens(world: Rc<World>, socket: SocketClient) {
    while !world.is_over() {
        world.pause(Duration::from_secs(1)).await;
        for name in socket.event_names() {
            world.record.note(if name == "event:seats-update" {
                "heard event:seats-update"
            } else {
                "heard of a seat, booking or event"
            });
        }
        socket.forget();
    }
}

/// New accounts, their sessions and the ends of these.
async fn registers(world: Rc<World>) {
    for n in 0.. {
        if world.is_over() {
            return;
        }
        let nobody = Client::anonymous(&world.http, &world.urls[0]);
        let email = format!("soak-{}-{n}@nexus.example", world.seed);
        let account = json!({"name": "Asha", "email": email, "password": PASSWORD});
        world.ask("register", &nobody, Method::POST, "/auth/register", account).await;
        let login = json!({"email": email, "password": PASSWORD});
        let session = world.ask("log in", &nobody, Method::POST, "/auth/login", login).await;
        if let Some(session) = session.filter(|session| session.status == 200) {
            let user = nobody.clone().logged_in(&session.body["data"]);
            let refresh = json!({"refreshToken": user.refresh_token});
            world.ask("who am I", &user, Method::GET, "/auth/me", Value::Null).await;
            world
                .ask("refresh token", &nobody, Method::POST, "/auth/refresh-token", refresh.clone())
                .await;
            world.ask("log out", &user, Method::POST, "/auth/logout", refresh).await;
        }
        world.pause(Duration::from_secs(1)).await;
    }
}

/// Logs in with a code, one phone after the other.
async fn uses_codes(world: Rc<World>) {
    let nobody = Client::anonymous(&world.http, &world.urls[0]);
    for n in 0_u64.. {
        if world.is_over() {
            return;
        }
        let phone = format!("+9197{:08}", n % 100_000_000);
        world
            .ask("ask for a code", &nobody, Method::POST, "/auth/send-otp", json!({"phone": phone}))
            .await;
        world.pause(Duration::from_millis(1_500)).await;
        let sent = world.http.get(format!("{}/otp/{phone}", world.sandbox)).send().await;
        let Ok(sent) = sent else { continue };
        let sent: Value = sent.json().await.unwrap_or_default();
        if let Some(code) = sent["code"].as_str() {
            let login = json!({"phone": phone, "otp": code});
            world.ask("log in with a code", &nobody, Method::POST, "/auth/verify-otp", login).await;
        }
    }
}

/// Looks at the same pages again and again, and does not want what has not changed.
async fn browses(world: Rc<World>) {
    let nobody = Client::anonymous(&world.http, &world.urls[0]);
    let mut tags = std::collections::BTreeMap::<String, String>::new();
    while !world.is_over() {
        let event = world.events.borrow().last().cloned().unwrap();
        for path in [
            "/events".to_owned(),
            format!("/events/{}", event.id),
            format!("/events/{}/seat-types", event.id),
            format!("/seats/{}", event.id),
        ] {
            let request = world.anywhere(&nobody).request(Method::GET, &path);
            let request = match tags.get(&path) {
                Some(tag) => request.header("if-none-match", tag),
                None => request,
            };
            let Some(answer) = world.send("browse", request).await else { continue };
            if answer.status == 304 {
                world.record.note("not modified");
            } else if let Some(tag) = answer.headers.get("etag").and_then(|tag| tag.to_str().ok()) {
                tags.insert(path, tag.to_owned());
            }
        }
        world.pause(Duration::from_millis(400)).await;
    }
}

/// Puts new events on sale, changes them, and calls off the old ones.
async fn organises(world: Rc<World>, mut dice: Dice) {
    while !world.is_over() {
        world.pause(dice.pause(3_000, 6_000)).await;
        let who = &world.organiser;
        let request = event_request(&[("VIP", 100.0, SEATS), ("Standing", 0.0, SEATS)]);
        if let Some(created) =
            world.insist("create event", who, Method::POST, "/events/create", &request).await
        {
            world.events.borrow_mut().push(Event::from_created(&created.body["data"]));
        }
        let old = {
            let mut events = world.events.borrow_mut();
            (events.len() > 4).then(|| events.remove(0))
        };
        if let Some(old) = old {
            let path = format!("/events/{}", old.id);
            world.insist("move event", who, Method::PUT, &path, &json!({"location": "Pune"})).await;
            world
                .insist("cancel event", who, Method::PUT, &path, &json!({"status": "cancelled"}))
                .await;
            world
                .ask(
                    "look at cancellation",
                    who,
                    Method::GET,
                    &format!("{path}/cancellation"),
                    Value::Null,
                )
                .await;
        }
    }
}

/// Looks after it all.
async fn administers(world: Rc<World>) {
    while !world.is_over() {
        for path in ["/admin", "/admin/jobs?state=dead", "/admin/ledger.csv", "/ready", "/health"] {
            let request = world.anywhere(&world.admin).request_root(Method::GET, path);
            world
                .send(if path.starts_with("/admin") { "admin page" } else { "probe" }, request)
                .await;
        }
        world.pause(Duration::from_secs(2)).await;
    }
}

/// Sends what makes no sense.
async fn errs(world: Rc<World>) {
    let nobody = Client::anonymous(&world.http, &world.urls[0]);
    let forged = nobody.clone().with_token(1, "eyJhbGciOiJub25lIn0.e30.");
    while !world.is_over() {
        let api = world.anywhere(&nobody);
        let forged = world.anywhere(&forged);
        let requests = [
            api.request(Method::POST, "/auth/login")
                .header("content-type", "application/json")
                .body("{"),
            api.request(Method::POST, "/auth/login").json(&json!([1])),
            api.request(Method::POST, "/auth/register").body("x".repeat(1_100_000)),
            api.request(Method::GET, "/events/none"),
            api.request(Method::GET, "/no/such/route"),
            api.request(Method::PATCH, "/events"),
            api.request(Method::POST, "/payments/webhook")
                .header("x-razorpay-signature", "0")
                .body("{}"),
            forged.request(Method::GET, "/bookings/my-bookings"),
            world
                .anywhere(&world.organiser)
                .request(Method::POST, "/bookings/create")
                .json(&json!({"event_id": "x"})),
        ];
        for request in requests {
            if let Some(answer) = world.send("bad request", request).await
                && (400..500).contains(&answer.status)
            {
                world.record.note("bad request refused");
            }
        }
        world.pause(Duration::from_secs(1)).await;
    }
}
