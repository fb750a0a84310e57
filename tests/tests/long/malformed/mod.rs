//! A hundred thousand malformed frames, packets and requests over both transports: nothing panics,
//! nothing is left of those who sent them, and whoever listens meanwhile does not notice.
//!
//! `NEXUS_MALFORMED_SEED` says what is sent (not when).

mod packets;
mod polling;
mod websocket;

use std::sync::Arc;
use std::time::{Duration, Instant};

use nexus_tests::metrics::Metrics;
use nexus_tests::seeded_rng::SeededRng;
use nexus_tests::settings::setting;
use nexus_tests::{Client, Event, SOON, SocketClient, Stack, Value, eventually, json, seen};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use crate::turn;

/// What is sent before memory is looked at, and once more after that.
const HALF: u64 = 50_000;
const SENDERS: u64 = 16;
/// Between two locks.
const EVERY: u64 = 1_000;
/// All senders have one address. How many commands a connection may send stays limited.
const LIFTED: [(&str, &str); 2] =
    [("RATE_LIMIT_CONNECTIONS", "1000000/1m"), ("RATE_LIMIT_USER", "1000000/1m")];
/// For one half.
const PATIENCE: Duration = Duration::from_secs(300);
/// A session that nobody closes is found out by its heartbeat, which takes 45 s at most.
const FORGOTTEN: Duration = Duration::from_secs(70);
/// Connections of the listeners and of the buyers, who keep theirs for a while.
const FEW: f64 = 10.0;
/// Memory is given back when it has not been used for 5 s (`.cargo/config.toml`).
const GIVEN_BACK: Duration = Duration::from_secs(10);
/// Megabytes by which the second half may outgrow the first. 500 bytes a frame would be 25.
const GROWTH: f64 = 15.0;

/// Whom the senders attack, and as whom.
#[derive(Clone)]
struct Attack {
    url: String,
    token: String,
    /// How much of it the server has read.
    read: Arc<watch::Sender<u64>>,
}

impl Attack {
    /// Goes on until the server has read so much in all.
    async fn go_on(&self, until: u64, seed: u64) {
        let mut senders = JoinSet::new();
        for number in 0..SENDERS {
            let (attack, mut rng) = (self.clone(), SeededRng(seed ^ ((until + number) << 20)));
            senders.spawn(async move {
                while *attack.read.borrow() < until {
                    let read = match rng.below(3) {
                        0 => polling::abuse(&attack, &mut rng).await,
                        _ => websocket::abuse(&attack, &mut rng).await,
                    };
                    attack.read.send_modify(|sum| *sum += read);
                }
            });
        }
        while let Some(ended) = senders.join_next().await {
            ended.expect("a sender has seen only what it may see");
        }
    }
}

#[tokio::test]
async fn a_hundred_thousand_malformed_frames_disturb_nobody() {
    let _turn = turn().await;
    let seed = setting("NEXUS_MALFORMED_SEED", 11);
    println!("NEXUS_MALFORMED_SEED={seed}");
    let mut stack = Stack::builder().workers([]).measured().settings(&LIFTED).start().await;
    let processes = stack.process_ids();
    let organiser = stack.user().await;
    let event = stack.event(&organiser, &[("VIP", 100.0, 1_000)]).await;
    let listeners = listeners(&stack).await;
    let sender = stack.user().await;
    let attack = Attack {
        url: stack.api_url(0),
        token: stack.mint_token(sender.id),
        read: Arc::new(watch::Sender::new(0)),
    };

    let mut memory = Vec::new();
    for half in [1, 2] {
        let buyers = stack.users((HALF / EVERY) as usize).await;
        let attacked = async {
            tokio::join!(
                attack.go_on(half * HALF, seed),
                sell(&attack.read, (half - 1) * HALF, &buyers, &event, &listeners)
            )
        };
        timeout(PATIENCE, attacked).await.expect("all has been read");
        until_only_listeners_are_left(&stack).await;
        memory.push(memory_at_rest(processes[0]).await);
    }

    let read = *attack.read.borrow();
    println!("{read} malformed inputs; megabytes after each half: {memory:.1?}");
    assert_eq!(stack.process_ids(), processes, "the process has ended");
    let log = stack.api(0).whole_log();
    let is_bad =
        |line: &&str| line.contains("panicked") || line.split_whitespace().nth(1) == Some("ERROR");
    let bad: Vec<&str> = log.lines().filter(is_bad).collect();
    assert!(bad.is_empty(), "{} lines such as {:#?}", bad.len(), &bad[..bad.len().min(5)]);
    for listener in &listeners {
        assert!(listener.has_stayed(), "{}", listener.describe());
    }
    assert_eq!(stack.count("seats").await as u64, 2 * HALF / EVERY, "seats, of buyers only");
    assert!(memory[1] < memory[0] + GROWTH, "megabytes: {memory:.1?}");
    stack.assert_invariants().await;
}

async fn listeners(stack: &Stack) -> [SocketClient; 2] {
    let nobody = stack.anonymous();
    let over = |transport: &str| json!({"transports": [transport]});
    [
        stack.socket_with("who has a websocket", &nobody, over("websocket")).await,
        stack.socket_with("who polls", &nobody, over("polling")).await,
    ]
}

/// Each buyer locks a seat when the next thousand has been read, and every listener hears of it.
async fn sell(
    read: &watch::Sender<u64>,
    begun: u64,
    buyers: &[Client],
    event: &Event,
    listeners: &[SocketClient],
) {
    let mut read = read.subscribe();
    for (buyer, due) in buyers.iter().zip((begun + EVERY..).step_by(EVERY as usize)) {
        read.wait_for(|read| *read >= due).await.expect("the senders go on");
        let seat = format!("S{}", buyer.id);
        buyer.lock(event, "VIP", &seat).await.ok();
        for listener in listeners {
            let is_it = |said: &Value| said["seat_label"] == seat;
            listener.wait_for("seat_locked", is_it, SOON).await;
        }
    }
}

async fn until_only_listeners_are_left(stack: &Stack) {
    eventually("only the listeners are left", FORGOTTEN, async || {
        let page = Metrics::read(&stack.metrics_urls()["api"]).await?;
        let left = ["nexus_sockets", "nexus_http_connections"].map(|gauge| page.value(gauge));
        seen(left[0] == Some(2.0) && left[1].is_some_and(|open| open <= FEW), left)
    })
    .await;
}

/// What a process holds when it has given back what it does not use.
async fn memory_at_rest(process: u32) -> f64 {
    let (began, mut looks, mut least) =
        (Instant::now(), interval(Duration::from_millis(500)), f64::INFINITY);
    while began.elapsed() < GIVEN_BACK {
        looks.tick().await;
        least = least.min(memory(process));
    }
    least
}

/// Megabytes, without those of the program's own file.
fn memory(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a size");
    line.split_whitespace().next().unwrap().parse::<f64>().expect("a number") / 1_024.0
}
