//! What people do: each repeats one activity to the end, undeterred by failures.

use std::rc::Rc;
use std::time::Duration;

use nexus_tests::seeded_rng::SeededRng;
use nexus_tests::shop::{PASSWORD, event_request};
use nexus_tests::{Client, Event, Method, SocketClient, Stack, Value, json};
use tokio::task::JoinSet;

use super::own_rng;
use super::shop::{Shop, users};

const BUYERS: usize = 10;
/// Seats of an event; few, so that they are fought for.
const SEATS: u32 = 40;

pub(crate) async fn arrive(shop: &Rc<Shop>, stack: &Stack, people: &mut JoinSet<()>) {
    for _ in 0..2 {
        let created =
            stack.event(&shop.organiser, &[("VIP", 100.0, SEATS), ("Standing", 0.0, SEATS)]).await;
        shop.events.borrow_mut().push(created);
    }
    for (n, buyer) in users(stack, &shop.http, BUYERS).await.into_iter().enumerate() {
        if n < 2 {
            let options = json!({"url": shop.urls[n % 2]});
            let socket = stack.socket_with("a buyer with a socket", &buyer, options).await;
            people.spawn_local(clicks(shop.clone(), socket, own_rng(shop.seed, n as u64)));
        } else {
            people.spawn_local(buys(shop.clone(), buyer, own_rng(shop.seed, n as u64)));
        }
    }
    let viewer =
        stack.socket_with("a viewer", &stack.anonymous(), json!({"url": shop.urls[1]})).await;
    people.spawn_local(listens(shop.clone(), viewer));
    people.spawn_local(registers(shop.clone()));
    people.spawn_local(uses_codes(shop.clone()));
    people.spawn_local(browses(shop.clone()));
    people.spawn_local(organises(shop.clone(), own_rng(shop.seed, 100)));
    people.spawn_local(administers(shop.clone()));
    people.spawn_local(errs(shop.clone()));
}

/// Locks a seat or two, extends, gives back, books, pays, cancels: or leaves at any point.
async fn buys(shop: Rc<Shop>, buyer: Client, mut rng: SeededRng) {
    while !shop.is_over() {
        shop.pause(rng.pause(100, 800)).await;
        buy(&shop, &buyer, &mut rng).await;
    }
}

async fn buy(shop: &Shop, buyer: &Client, rng: &mut SeededRng) -> Option<()> {
    let event = some_event(shop, rng);
    let kind = if rng.below(5) == 0 { "Standing" } else { "VIP" };
    let seat_type = event.seat_type(kind);
    let label = format!("A{}", 1 + rng.below(u64::from(SEATS)));
    let lock = format!("/seats/{}/seat-types/{seat_type}/lock", event.id);
    let seat = json!({"seat_label": label});
    let labels: Vec<Value> = if rng.below(4) == 0 {
        let best = json!({"best_available": {"seat_type_id": seat_type, "count": 2}});
        let locked = shop
            .ask("lock best", buyer, Method::POST, &format!("/seats/{}/locks", event.id), best)
            .await?;
        locked.body["data"]["locks"]
            .as_array()?
            .iter()
            .map(|lock| lock["seat_label"].clone())
            .collect()
    } else {
        let locked = shop.ask("lock", buyer, Method::POST, &lock, seat.clone()).await?;
        (locked.status == 200).then(|| vec![json!(label)])?
    };
    match rng.below(10) {
        0 => {
            shop.ask("extend", buyer, Method::POST, &format!("{lock}/extend"), seat).await;
        }
        1 => {
            shop.ask(
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
    let booked = shop.insist("book", buyer, Method::POST, "/bookings/create", &request).await?;
    let booking = booked.body["data"]["booking"].clone();
    let id = booking["id"].as_i64()?;
    if rng.below(10) == 0 {
        return None;
    }
    let order = json!({"booking_id": id, "amount": booking["total_amount"], "currency": "INR"});
    if booking["total_amount"] != 0 {
        let order =
            shop.insist("order", buyer, Method::POST, "/payments/create-order", &order).await?;
        let order = order.body["data"]["order_id"].as_str()?.to_owned();
        let outcomes: &[&str] = match rng.below(10) {
            0 => &["failed", "captured"],
            1 => &["captured", "captured"],
            2 | 3 => &["authorized"],
            _ => &["captured"],
        };
        for outcome in outcomes {
            if shop.pay(&order, outcome).await {
                shop.record.note("paid");
            }
        }
    }
    if rng.below(3) == 0 {
        shop.pause(rng.pause(200, 3_000)).await;
        let cancel = format!("/bookings/{id}/cancel");
        shop.insist("cancel booking", buyer, Method::POST, &cancel, &json!({"reason": "rain"}))
            .await;
    }
    shop.ask("look at bookings", buyer, Method::GET, "/bookings/my-bookings", Value::Null).await;
    Some(())
}

fn some_event(shop: &Shop, rng: &mut SeededRng) -> Event {
    let events = shop.events.borrow();
    events[rng.below(events.len() as u64) as usize].clone()
}

/// The same over a socket. What is answered meanwhile may be lost with its process, and is not
/// waited for.
async fn clicks(shop: Rc<Shop>, socket: SocketClient, mut rng: SeededRng) {
    while !shop.is_over() {
        let event = some_event(&shop, &mut rng);
        let seat_type = event.seat_type("VIP");
        let label = format!("A{}", 1 + rng.below(u64::from(SEATS)));
        let seat = json!({"eventId": event.id, "seatTypeId": seat_type, "seat_label": label});
        let (command, payload) = match rng.below(6) {
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
        shop.pause(rng.pause(200, 700)).await;
        for name in socket.event_names() {
            if name.ends_with("_response") {
                shop.record.note("command answered");
            }
        }
        socket.forget();
    }
}

/// Listens to all broadcasts.
async fn listens(shop: Rc<Shop>, socket: SocketClient) {
    while !shop.is_over() {
        shop.pause(Duration::from_secs(1)).await;
        for name in socket.event_names() {
            shop.record.note(if name == "event:seats-update" {
                "heard event:seats-update"
            } else {
                "heard of a seat, booking or event"
            });
        }
        socket.forget();
    }
}

/// New accounts, their sessions and the ends of these.
async fn registers(shop: Rc<Shop>) {
    for n in 0.. {
        if shop.is_over() {
            return;
        }
        let nobody = Client::anonymous(&shop.http, &shop.urls[0]);
        let email = format!("soak-{}-{n}@nexus.example", shop.seed);
        let account = json!({"name": "Asha", "email": email, "password": PASSWORD});
        shop.ask("register", &nobody, Method::POST, "/auth/register", account).await;
        let login = json!({"email": email, "password": PASSWORD});
        let session = shop.ask("log in", &nobody, Method::POST, "/auth/login", login).await;
        if let Some(session) = session.filter(|session| session.status == 200) {
            let user = nobody.clone().logged_in(&session.body["data"]);
            let refresh = json!({"refreshToken": user.refresh_token});
            shop.ask("who am I", &user, Method::GET, "/auth/me", Value::Null).await;
            shop.ask(
                "refresh token",
                &nobody,
                Method::POST,
                "/auth/refresh-token",
                refresh.clone(),
            )
            .await;
            shop.ask("log out", &user, Method::POST, "/auth/logout", refresh).await;
        }
        shop.pause(Duration::from_secs(1)).await;
    }
}

/// Logs in with a code, one phone after the other.
async fn uses_codes(shop: Rc<Shop>) {
    let nobody = Client::anonymous(&shop.http, &shop.urls[0]);
    for n in 0_u64.. {
        if shop.is_over() {
            return;
        }
        let phone = format!("+9197{:08}", n % 100_000_000);
        shop.ask(
            "ask for a code",
            &nobody,
            Method::POST,
            "/auth/send-otp",
            json!({"phone": phone}),
        )
        .await;
        shop.pause(Duration::from_millis(1_500)).await;
        let sent = shop.http.get(format!("{}/otp/{phone}", shop.sandbox)).send().await;
        let Ok(sent) = sent else { continue };
        let sent: Value = sent.json().await.unwrap_or_default();
        if let Some(code) = sent["code"].as_str() {
            let login = json!({"phone": phone, "otp": code});
            shop.ask("log in with a code", &nobody, Method::POST, "/auth/verify-otp", login).await;
        }
    }
}

/// Looks at the same pages again and again, and does not want what has not changed.
async fn browses(shop: Rc<Shop>) {
    let nobody = Client::anonymous(&shop.http, &shop.urls[0]);
    let mut tags = std::collections::BTreeMap::<String, String>::new();
    while !shop.is_over() {
        let event = shop.events.borrow().last().cloned().unwrap();
        for path in [
            "/events".to_owned(),
            format!("/events/{}", event.id),
            format!("/events/{}/seat-types", event.id),
            format!("/seats/{}", event.id),
        ] {
            let request = shop.anywhere(&nobody).request(Method::GET, &path);
            let request = match tags.get(&path) {
                Some(tag) => request.header("if-none-match", tag),
                None => request,
            };
            let Some(response) = shop.send("browse", request).await else { continue };
            if response.status == 304 {
                shop.record.note("not modified");
            } else if let Some(tag) = response.headers.get("etag").and_then(|tag| tag.to_str().ok())
            {
                tags.insert(path, tag.to_owned());
            }
        }
        shop.pause(Duration::from_millis(400)).await;
    }
}

/// Puts new events on sale, changes them, and calls off the old ones.
async fn organises(shop: Rc<Shop>, mut rng: SeededRng) {
    while !shop.is_over() {
        shop.pause(rng.pause(3_000, 6_000)).await;
        let who = &shop.organiser;
        let request = event_request(&[("VIP", 100.0, SEATS), ("Standing", 0.0, SEATS)]);
        if let Some(created) =
            shop.insist("create event", who, Method::POST, "/events/create", &request).await
        {
            shop.events.borrow_mut().push(Event::from_created(&created.body["data"]));
        }
        let old = {
            let mut events = shop.events.borrow_mut();
            (events.len() > 4).then(|| events.remove(0))
        };
        if let Some(old) = old {
            let path = format!("/events/{}", old.id);
            shop.insist("move event", who, Method::PUT, &path, &json!({"location": "Pune"})).await;
            shop.insist("cancel event", who, Method::PUT, &path, &json!({"status": "cancelled"}))
                .await;
            shop.ask(
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

/// Does what an operator does.
async fn administers(shop: Rc<Shop>) {
    while !shop.is_over() {
        for path in ["/admin", "/admin/jobs?state=dead", "/admin/ledger.csv", "/ready", "/health"] {
            let request = shop.anywhere(&shop.admin).request_root(Method::GET, path);
            shop.send(if path.starts_with("/admin") { "admin page" } else { "probe" }, request)
                .await;
        }
        shop.pause(Duration::from_secs(2)).await;
    }
}

/// Sends requests that make no sense.
async fn errs(shop: Rc<Shop>) {
    let nobody = Client::anonymous(&shop.http, &shop.urls[0]);
    let forged = nobody.clone().with_token(1, "eyJhbGciOiJub25lIn0.e30.");
    while !shop.is_over() {
        let api = shop.anywhere(&nobody);
        let forged = shop.anywhere(&forged);
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
            shop.anywhere(&shop.organiser)
                .request(Method::POST, "/bookings/create")
                .json(&json!({"event_id": "x"})),
        ];
        for request in requests {
            if let Some(response) = shop.send("bad request", request).await
                && (400..500).contains(&response.status)
            {
                shop.record.note("bad request refused");
            }
        }
        shop.pause(Duration::from_secs(1)).await;
    }
}
