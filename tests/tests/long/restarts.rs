//! Two API processes are replaced, one after the other, under thousands of clients: all of them
//! come back by themselves, and what a buyer commands is done if it is answered, and not done if it
//! is not (docs/realtime.md#restarts).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use nexus_tests::seeded_rng::SeededRng;
use nexus_tests::shop::event_request;
use nexus_tests::wire::{Wire, text_frame};
use nexus_tests::{Event, Stack, Value, eventually, json, seen};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::turn;

const CLIENTS: usize = 5_000;
/// Clients that command something all the time.
const BUYERS: usize = 50;
/// From one of them to the next.
const PAUSE: Duration = Duration::from_millis(100);
/// All are connected again within this time on a busy machine; `make bench` measures it.
const PATIENCE: Duration = Duration::from_secs(90);

/// What all clients share.
struct Crowd {
    /// Of both processes.
    urls: [String; 2],
    connected: AtomicUsize,
    lost: AtomicUsize,
    is_over: AtomicBool,
}

/// One client, which comes back as the official ones do.
struct Client {
    crowd: Arc<Crowd>,
    attempts: usize,
    rng: SeededRng,
}

impl Client {
    fn new(crowd: &Arc<Crowd>, number: usize) -> Self {
        let rng = SeededRng(number as u64);
        Client { crowd: crowd.clone(), attempts: number, rng }
    }

    /// A connected socket; none when the test is over.
    async fn connect(&mut self, auth: &Value) -> Option<Wire> {
        for failed in 0.. {
            if self.crowd.is_over.load(Relaxed) {
                break;
            }
            self.attempts += 1;
            let url = &self.crowd.urls[self.attempts % 2];
            if let Ok(mut wire) = Wire::connect(url).await
                && wire.connected(auth).await.is_some()
            {
                self.crowd.connected.fetch_add(1, Relaxed);
                return Some(wire);
            }
            self.wait(failed).await;
        }
        None
    }

    /// As long as the official client waits by default.
    async fn wait(&mut self, failed: u32) {
        let base = (1_000 * 2_u64.pow(failed.min(3))).min(5_000);
        sleep(self.rng.pause(base / 2, base * 3 / 2)).await;
    }

    async fn lose(&mut self) {
        self.crowd.connected.fetch_sub(1, Relaxed);
        self.crowd.lost.fetch_add(1, Relaxed);
        self.wait(0).await;
    }

    async fn listen(mut self) {
        while let Some(mut wire) = self.connect(&Value::Null).await {
            while let Some(packet) = wire.packet().await {
                if packet == "2" {
                    wire.send(text_frame("3")).await;
                }
            }
            self.lose().await;
        }
    }

    /// Locks one seat after the other; returns those whose lock was answered, and those where the
    /// connection was lost before.
    async fn buy(mut self, auth: Value, event: Event) -> (Vec<String>, Vec<String>) {
        let (mut locked, mut unanswered) = (Vec::new(), Vec::new());
        let buyer = self.attempts;
        while let Some(mut wire) = self.connect(&auth).await {
            loop {
                let label = format!("B{buyer}N{}", locked.len() + unanswered.len());
                let seat = json!({"eventId": event.id, "seatTypeId": event.seat_type("VIP"), "seat_label": label});
                wire.send(text_frame(&format!("42{}", json!(["lock_seat", seat])))).await;
                match response(&mut wire).await {
                    Some(said) => {
                        assert!(said.contains(r#""success":true"#), "{said}");
                        locked.push(label);
                    }
                    None => {
                        unanswered.push(label);
                        break;
                    }
                }
                if self.crowd.is_over.load(Relaxed) {
                    return (locked, unanswered);
                }
                sleep(PAUSE).await;
            }
            self.lose().await;
        }
        (locked, unanswered)
    }
}

async fn response(wire: &mut Wire) -> Option<String> {
    loop {
        let packet = wire.packet().await?;
        if packet == "2" {
            wire.send(text_frame("3")).await;
        }
        if packet.starts_with(r#"42["lock_seat_response""#) {
            return Some(packet);
        }
    }
}

impl Crowd {
    async fn all_connected(&self) {
        eventually("every client is connected", PATIENCE, async || {
            let connected = self.connected.load(Relaxed);
            seen(connected == CLIENTS + BUYERS, connected)
        })
        .await;
    }
}

#[tokio::test]
async fn everybody_comes_back_and_only_what_is_answered_is_done() {
    let _turn = turn().await;
    let mut stack = Stack::builder().workers([]).without_limits().api_processes(2).start().await;
    let mut request = event_request(&[("VIP", 100.0, 100_000)]);
    request["max_tickets_per_user"] = json!(10_000);
    let created = stack.user().await.post("/events/create", request).await.data();
    let event = Event::from_created(&created);
    let crowd = Arc::new(Crowd {
        urls: [0, 1].map(|process| stack.api_url(process)),
        connected: AtomicUsize::new(0),
        lost: AtomicUsize::new(0),
        is_over: AtomicBool::new(false),
    });
    let mut listening = JoinSet::new();
    for number in 0..CLIENTS {
        listening.spawn(Client::new(&crowd, number).listen());
    }
    let mut buying = JoinSet::new();
    for (number, buyer) in stack.users(BUYERS).await.into_iter().enumerate() {
        let auth = json!({"token": buyer.token});
        buying.spawn(Client::new(&crowd, number).buy(auth, event.clone()));
    }
    crowd.all_connected().await;

    for process in [0, 1] {
        assert!(stack.api(process).stop().await.success());
        stack.restart_api(process).await;
        crowd.all_connected().await;
    }
    crowd.is_over.store(true, Relaxed);
    let (locked, unanswered): (Vec<_>, Vec<_>) = buying.join_all().await.into_iter().unzip();
    listening.shutdown().await;

    // Half of them were at the first process, and all at the second.
    assert!(crowd.lost.load(Relaxed) >= CLIENTS + BUYERS);
    let (mut locked, unanswered) = (locked.concat(), unanswered.concat());
    let mut done: Vec<String> =
        sqlx::query_scalar("SELECT seat_label FROM seats").fetch_all(&stack.db).await.unwrap();
    locked.sort();
    done.sort();
    assert!(locked == done, "{} answered, {} done, {unanswered:?}", locked.len(), done.len());
    stack.assert_invariants().await;
}
