//! What everyone reads of events comes from memory, and is never older than its question.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nexus_tests::{Client, Event, Method, Response, SOON, Stack, Value, eventually, json};
use tokio::task::JoinSet;

/// The event in the list.
async fn listed(viewer: &Client, query: &str, event: &Event) -> Option<Value> {
    let list = viewer.get(&format!("/events{query}")).await.data();
    list.as_array().unwrap().iter().find(|item| item["id"] == event.id).cloned()
}

/// What all that shows an event says of it, which must agree: its name and its free seats.
async fn seen(viewer: &Client, event: &Event) -> (String, i64) {
    let shown = viewer.get(&format!("/events/{}", event.id)).await.data();
    let types = viewer.get(&format!("/events/{}/seat-types", event.id)).await.data();
    let listed = listed(viewer, "?limit=100", event).await.expect("a listed event");
    let free = shown["available_seats"].as_i64().unwrap();
    let sum = |types: &Value| {
        let types = types.as_array().unwrap().iter();
        types.map(|one| one["available_quantity"].as_i64().unwrap()).sum::<i64>()
    };
    assert_eq!((&listed["name"], listed["available_seats"].as_i64()), (&shown["name"], Some(free)));
    assert_eq!(sum(&types), free, "{types}");
    (shown["name"].as_str().unwrap().to_owned(), free)
}

/// Both processes' users.
async fn everywhere(stack: &Stack) -> [Client; 2] {
    [stack.anonymous(), stack.anonymous().at(&stack.api_url(1))]
}

/// How often a change is made in the race.
const CHANGES: u64 = 40;

/// A number that everybody knows who has been told of the change that made it.
#[derive(Clone, Default)]
struct Known(Arc<AtomicU64>);

impl Known {
    fn tell(&self, number: u64) {
        self.0.fetch_max(number, Ordering::SeqCst);
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn no_answer_is_older_than_what_its_reader_knows() {
    let stack = Stack::builder().without_limits().workers([]).api_processes(2).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 500), ("Standard", 50.0, 500)]).await;
    let [names, locks] = [Known::default(), Known::default()];
    let over = Arc::new(AtomicBool::new(false));

    let mut readers = JoinSet::new();
    for reader in 0..8 {
        let url = stack.api_url(reader % 2);
        let viewer = stack.anonymous().at(&url);
        let (event, names, locks, over) =
            (event.clone(), names.clone(), locks.clone(), over.clone());
        readers.spawn(async move {
            let mut reads = 0;
            while !over.load(Ordering::SeqCst) {
                let (renamed, locked) = (names.now(), locks.now());
                let shown = match reads % 4 {
                    0 => listed(&viewer, "?limit=100", &event).await.unwrap(),
                    1 => viewer.get(&format!("/events/{}/seat-types", event.id)).await.data(),
                    _ => viewer.get(&format!("/events/{}", event.id)).await.data(),
                };
                if let Some(name) = shown["name"].as_str() {
                    let number: u64 = name.rsplit(' ').next().unwrap().parse().unwrap_or(0);
                    assert!(number >= renamed, "{name} after number {renamed} at {url}");
                    let free = shown["available_seats"].as_u64().unwrap();
                    assert!(free <= 1_000 - locked, "{free} free after {locked} locks at {url}");
                } else {
                    let free = shown[0]["available_quantity"].as_u64().unwrap();
                    assert!(free <= 500 - locked, "{free} free after {locked} locks at {url}");
                    assert_eq!(shown[1]["available_quantity"], 500);
                }
                reads += 1;
            }
            reads
        });
    }
    // Through either process, and by hand.
    let rename = async {
        for number in 1..=CHANGES {
            let name = format!("Night {number}");
            if number % 3 == 0 {
                let by_hand = format!("UPDATE events SET name = '{name}' WHERE id = {}", event.id);
                stack.execute(&by_hand).await;
            } else {
                let organiser = organiser.clone().at(&stack.api_url(number as usize % 2));
                let path = format!("/events/{}", event.id);
                organiser.put(&path, json!({ "name": name })).await.ok();
            }
            names.tell(number);
        }
    };
    let buyers = stack.users(CHANGES as usize / 10).await;
    let lock = async {
        for number in 1..=CHANGES {
            let buyer = buyers[number as usize % buyers.len()].clone();
            let buyer = buyer.at(&stack.api_url(number as usize % 2));
            buyer.lock(&event, "VIP", &format!("A{number}")).await.ok();
            locks.tell(number);
        }
    };
    tokio::join!(rename, lock);
    over.store(true, Ordering::SeqCst);
    while let Some(reads) = readers.join_next().await {
        assert!(reads.unwrap() > 0);
    }
}

#[tokio::test]
async fn whoever_changes_an_event_changes_what_is_read() {
    let stack = Stack::builder().without_limits().workers([]).api_processes(2).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 10), ("Standard", 50.0, 10)]).await;
    let viewers = everywhere(&stack).await;
    let holder = stack.user().await;
    holder.lock(&event, "VIP", "A1").await.ok();
    holder.lock(&event, "VIP", "A2").await.ok();
    let (id, vip) = (event.id, event.seat_type("VIP"));
    let changes = [
        (format!("UPDATE events SET name = 'Later' WHERE id = {id}"), ("Later", 18)),
        // The Node service gives a seat back.
        (
            format!("WITH gone AS (DELETE FROM seats WHERE seat_label = 'A2' RETURNING 1)
                     UPDATE event_seat_types SET available_quantity = available_quantity + 1 WHERE id = {vip}"),
            ("Later", 19),
        ),
        // A lock runs out, and nobody has freed it yet.
        ("UPDATE seats SET expires_at = now() - interval '1 second'".to_owned(), ("Later", 20)),
        // Its buyer pays all the same: only the seat changes.
        ("UPDATE seats SET status = 'booked'".to_owned(), ("Later", 19)),
        (
            format!("INSERT INTO event_seat_types (event_id, name, price, quantity, available_quantity) VALUES ({id}, 'Box', 9, 3, 3)"),
            ("Later", 22),
        ),
        (format!("DELETE FROM event_seat_types WHERE event_id = {id} AND name = 'Box'"), ("Later", 19)),
        (format!("UPDATE event_seat_types SET quantity = 15 WHERE id = {vip}"), ("Later", 24)),
    ];
    for viewer in &viewers {
        assert_eq!(seen(viewer, &event).await, ("Monsoon Jazz Night".to_owned(), 18));
    }
    for (change, (name, free)) in changes {
        stack.execute(&change).await;
        for viewer in &viewers {
            assert_eq!(seen(viewer, &event).await, (name.to_owned(), free), "after {change}");
        }
    }
    stack.execute(&format!("UPDATE users SET name = 'Asha' WHERE id = {}", organiser.id)).await;
    for viewer in &viewers {
        let shown = viewer.get(&format!("/events/{id}")).await.data();
        assert_eq!(shown["organizer_name"], "Asha");
        assert_eq!(listed(viewer, "", &event).await.unwrap()["organizer_name"], "Asha");
    }
    let another = stack.event(&organiser, &[("VIP", 100.0, 1)]).await;
    for viewer in &viewers {
        let list = viewer.get("/events").await.ok();
        assert_eq!(
            (list["data"].as_array().unwrap().len(), &list["pagination"]["total"]),
            (2, &json!(2))
        );
    }
    stack.execute(&format!("DELETE FROM events WHERE id = {}", another.id)).await;
    for viewer in &viewers {
        assert_eq!(viewer.get("/events").await.ok()["pagination"]["total"], 1);
        viewer.get(&format!("/events/{}", another.id)).await.failed(404, "Event not found");
        let path = format!("/events/{}/seat-types", another.id);
        viewer.get(&path).await.failed(404, "Event not found");
    }
}

#[tokio::test]
async fn what_is_private_stays_out_of_others_answers() {
    let stack = Stack::builder().without_limits().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 10)]).await;
    let (stranger, anybody) = (stack.user().await, stack.anonymous());
    let own = format!("?organizer_id={}", organiser.id);
    let path = format!("/events/{}", event.id);
    // In an order in which each would get the other's answer, were they the same.
    for _ in 0..2 {
        assert!(organiser.get(&path).await.data()["organizer_email"].is_string());
        for viewer in [&stranger, &anybody] {
            let shown = viewer.get(&path).await.data();
            assert!(shown.get("organizer_email").is_none(), "{shown}");
        }
    }
    for hidden in [json!({"is_public": false}), json!({"is_public": true, "status": "draft"})] {
        organiser.put(&path, hidden).await.ok();
        for _ in 0..2 {
            organiser.get(&path).await.ok();
            organiser.get(&format!("{path}/seat-types")).await.ok();
            assert!(listed(&organiser, &own, &event).await.is_some());
            for viewer in [&stranger, &anybody] {
                viewer.get(&path).await.failed(404, "Event not found");
                viewer.get(&format!("{path}/seat-types")).await.failed(404, "Event not found");
                assert!(listed(viewer, &own, &event).await.is_none());
                assert!(listed(viewer, "", &event).await.is_none());
            }
        }
    }
}

#[tokio::test]
async fn a_share_code_opens_a_private_event_and_no_draft() {
    let stack = Stack::builder().without_limits().workers([]).start().await;
    let (organiser, stranger) = (stack.user().await, stack.user().await);
    let event = stack.event(&organiser, &[("VIP", 100.0, 10)]).await;
    let other = stack.event(&organiser, &[("VIP", 100.0, 10)]).await;
    let path = format!("/events/{}", event.id);
    let code_of = async |event: &Event| {
        let shown = organiser.get(&format!("/events/{}", event.id)).await.data();
        shown["share_code"].as_str().expect("a code").to_owned()
    };
    let (code, others) = (code_of(&event).await, code_of(&other).await);
    assert_ne!(code, others);
    let paths = [path.clone(), format!("{path}/seat-types"), format!("/seats/{}", event.id)];
    let viewers = [&stranger, &stack.anonymous()];
    // As long as it is open, no code is needed, and a wrong one does no harm.
    for path in &paths {
        stranger.get(&format!("{path}?share_code={others}")).await.ok();
    }

    let closes = async |map: String| {
        // A map is shared for a tenth of a second.
        eventually("the seat map is closed", SOON, async || {
            nexus_tests::seen(stranger.get(&map).await.status == 404, ())
        })
        .await;
    };
    organiser.put(&path, json!({"is_public": false})).await.ok();
    closes(paths[2].clone()).await;
    // In an order in which each would get the other's answer, were they the same.
    for _ in 0..2 {
        for path in &paths {
            organiser.get(path).await.ok();
            for viewer in viewers {
                let shown = viewer.get(&format!("{path}?share_code={code}")).await;
                assert!(!shown.text.contains(&code), "{}", shown.text);
                assert!(!shown.text.contains("organizer_email"), "{}", shown.text);
                shown.ok();
                for wrong in ["", &others, "please", &code[1..]] {
                    let wrong = viewer.get(&format!("{path}?share_code={wrong}")).await;
                    wrong.failed(404, "Event not found");
                }
                viewer.get(path).await.failed(404, "Event not found");
            }
        }
    }
    let own = format!("?organizer_id={}", organiser.id);
    assert!(listed(&organiser, &own, &event).await.unwrap().get("share_code").is_none());
    assert!(listed(&stranger, &format!("{own}&share_code={code}"), &event).await.is_none());
    let listener = stack.socket("the organiser", &organiser).await;
    let changed = organiser.put(&path, json!({"location": "a cellar"})).await;
    assert!(!changed.text.contains(&code), "{}", changed.text);
    changed.ok();
    let broadcast = listener.wait_for_any("event_updated").await;
    assert!(!broadcast.to_string().contains(&code), "{broadcast}");

    organiser.put(&path, json!({"status": "draft"})).await.ok();
    closes(format!("{}?share_code={code}", paths[2])).await;
    for path in &paths {
        organiser.get(path).await.ok();
        for viewer in viewers {
            let closed = viewer.get(&format!("{path}?share_code={code}")).await;
            closed.failed(404, "Event not found");
        }
    }
}

#[tokio::test]
async fn a_new_share_code_ends_the_old_one_at_once() {
    let stack = Stack::builder().without_limits().workers([]).api_processes(2).start().await;
    let (organiser, guest) = (stack.user().await, stack.user().await);
    let event = stack.event(&organiser, &[("VIP", 100.0, 10)]).await;
    let path = format!("/events/{}", event.id);
    organiser.put(&path, json!({"is_public": false})).await.ok();
    let code = async || {
        let shown = organiser.get(&path).await.data();
        shown["share_code"].as_str().expect("a code").to_owned()
    };
    let old = code().await;
    let guest_there = guest.clone().at(&stack.api_url(1));
    guest_there.get(&format!("{path}?share_code={old}")).await.ok();
    // Who is logged in gets what no cache in between may keep in any case.
    for name in ["share_code", "share%5Fcode"] {
        let shown = stack.anonymous().get(&format!("{path}?{name}={old}")).await;
        assert_eq!(shown.status, 200);
        assert_eq!(shown.headers["cache-control"], "private, no-cache", "{name}");
    }
    let socket = stack.socket("a guest", &guest).await;
    socket.call_ok("join_event", json!({"event_id": event.id, "share_code": old})).await;

    organiser
        .put(&path, json!({"new_share_code": "yes"}))
        .await
        .failed(400, "new_share_code must be true or false");
    organiser.put(&path, json!({"new_share_code": false})).await.ok();
    assert_eq!(code().await, old);
    organiser.put(&path, json!({"new_share_code": true})).await.ok();
    let new = code().await;
    assert_ne!(new, old);
    guest_there.get(&format!("{path}?share_code={old}")).await.failed(404, "Event not found");
    let lock = json!({"seats": [{"seat_type_id": event.seat_type("VIP"), "seat_label": "A1"}], "share_code": old});
    let locks = format!("/seats/{}/locks", event.id);
    guest.post(&locks, lock).await.failed(404, "Event not found");
    // Who has joined with the old one hears nothing more.
    let own = stack.socket("the organiser", &organiser).await;
    own.call_ok("join_event", json!(event.id)).await;
    organiser.lock(&event, "VIP", "A2").await.ok();
    own.wait_for_any("seat_locked").await;
    socket.call_ok("join_event", json!({"event_id": event.id, "share_code": new})).await;
    organiser.lock(&event, "VIP", "A3").await.ok();
    let heard = socket.wait_for_any("seat_locked").await;
    assert_eq!(heard["seat_label"], "A3", "{heard}");
}

#[tokio::test]
async fn what_is_long_is_compressed_for_whoever_can_read_that() {
    let stack = Stack::builder().without_limits().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 30)]).await;
    let description = "A long evening. ".repeat(200);
    organiser.put(&format!("/events/{}", event.id), json!({"description": description})).await.ok();
    let anonymous = stack.anonymous();
    let event_path = format!("/events/{}", event.id);
    for path in [event_path.as_str(), "/events"] {
        let plain = anonymous.get(path).await;
        assert!(!plain.headers.contains_key("content-encoding"));
        assert_eq!(plain.headers["vary"], "accept-encoding", "{path}");
        for (accepted, encoding) in [("gzip, deflate, br", "br"), ("gzip;q=0.5", "gzip")] {
            let ask = anonymous.request(Method::GET, path).header("accept-encoding", accepted);
            let response = ask.send().await.unwrap();
            assert_eq!(response.headers()["content-encoding"], encoding, "{path}");
            assert_eq!(response.headers()["vary"], "accept-encoding", "{path}");
            assert_eq!(response.headers()["content-type"], plain.headers["content-type"]);
            let bytes = response.bytes().await.unwrap();
            assert!(bytes.len() * 2 < plain.text.len(), "{} of {}", bytes.len(), plain.text.len());
            let mut text = String::new();
            let read = match encoding {
                "br" => brotli::Decompressor::new(&*bytes, 4096).read_to_string(&mut text),
                _ => flate2::read::GzDecoder::new(&*bytes).read_to_string(&mut text),
            };
            read.unwrap();
            assert_eq!(text, plain.text, "{path}");
        }
    }
    let known = anonymous.get(&event_path).await.headers["etag"].clone();
    let ask = anonymous.request(Method::GET, &event_path).header("accept-encoding", "br");
    let known = Response::to(ask.header("if-none-match", known)).await;
    assert_eq!((known.status, known.text.as_str()), (304, ""));
    assert!(!known.headers.contains_key("content-encoding"));

    let short = anonymous.request(Method::GET, &format!("{event_path}/seat-types"));
    let short = Response::to(short.header("accept-encoding", "br")).await;
    assert!(!short.headers.contains_key("content-encoding"), "{short}");
}

async fn conditional(viewer: &Client, path: &str, tag: &str) -> Response {
    Response::to(viewer.request("GET".parse().unwrap(), path).header("if-none-match", tag)).await
}

#[tokio::test]
async fn who_has_the_answer_already_gets_none_until_it_changes() {
    let stack = Stack::builder().without_limits().workers([]).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 10)]).await;
    let buyer = stack.user().await;
    let event_path = format!("/events/{}", event.id);
    for (n, path) in [event_path.clone(), format!("{event_path}/seat-types"), "/events".to_owned()]
        .iter()
        .enumerate()
    {
        let tag = buyer.get(path).await.headers["etag"].to_str().unwrap().to_owned();
        let same = conditional(&buyer, path, &tag).await;
        assert_eq!((same.status, same.text.as_str()), (304, ""), "{path}");
        buyer.lock(&event, "VIP", &format!("A{n}")).await.ok();
        assert_eq!(conditional(&buyer, path, &tag).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_crowd_costs_as_much_as_one_reader() {
    let stack = Stack::builder().without_limits().workers([]).start().await;
    let event = stack.event(&stack.user().await, &[("VIP", 100.0, 50)]).await;
    let path = format!("/events/{}", event.id);
    stack.anonymous().get(&path).await.ok();
    let mut held = stack.db.begin().await.unwrap();
    sqlx::query("LOCK TABLE events IN ACCESS EXCLUSIVE MODE").execute(&mut *held).await.unwrap();
    let mut crowd = JoinSet::new();
    for viewer in stack.users(200).await {
        for path in [path.clone(), format!("{path}/seat-types"), "/events".to_owned()] {
            let viewer = viewer.clone();
            crowd.spawn(async move { viewer.get(&path).await });
        }
    }
    stack.until_blocked("nexus-api", 3).await;
    // Others, who need a connection, get one.
    stack.user().await.get("/auth/me").await.ok();
    // A group that is not answered in time does not hold up those that come later, and there are
    // never more than four for each kind of answer.
    assert!(stack.blocked("nexus-api").await <= 12);
    held.rollback().await.unwrap();
    while let Some(response) = crowd.join_next().await {
        response.unwrap().ok();
    }
}

#[tokio::test]
async fn without_redis_answers_are_as_new_as_ever() {
    let mut stack = Stack::builder().without_limits().workers([]).api_processes(2).start().await;
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 10)]).await;
    let viewers = everywhere(&stack).await;
    for viewer in &viewers {
        seen(viewer, &event).await;
    }
    stack.redis.stop().await.unwrap();
    organiser.put(&format!("/events/{}", event.id), json!({"name": "Later"})).await.ok();
    for viewer in &viewers {
        assert_eq!(seen(viewer, &event).await, ("Later".to_owned(), 10));
    }
}
