//! The shop itself, over HTTP: a real API process and the payments worker, in front of the same servers.

use std::{
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use nexus_common::{
    config,
    domain::{ids::UserId, tokens::Signer},
};
use nexus_sandbox::{
    ports,
    process::{Process, Signal},
    providers::{Providers, ProvidersConfig, sign},
};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    cpu::Cpu,
    samples::percentile,
    servers::{Servers, binary},
};

/// Buyers.
const USERS: usize = 2_000;
/// Clients that lock one seat after the other.
pub const CLIENTS: usize = 64;
/// Webhooks a second.
pub const OFFERED: u32 = 500;

/// A shop with seats to sell.
pub struct Shop {
    api: Process,
    worker: Process,
    http: Client,
    url: String,
    tokens: Vec<String>,
    event: i64,
    seat_type: i64,
    webhook_secret: String,
    next: AtomicU64,
    postgres: Option<u32>,
    redis: Option<u32>,
    /// Its addresses are part of the settings; nobody calls them here.
    _providers: Providers,
}

/// What came of locking.
#[derive(Debug, Clone, Copy)]
pub struct Locked {
    /// Seats per second.
    pub rate: f64,
    /// Of one lock, in milliseconds.
    pub p99: f64,
    /// Seconds.
    pub time: f64,
    /// Meanwhile.
    pub cpu: Cpu,
}

/// What came of webhooks.
#[derive(Debug, Clone, Copy)]
pub struct Delivered {
    /// Stored in a second.
    pub rate: f64,
    /// Answered 503, for Razorpay to try again.
    pub refused: f64,
    /// From the time when it was due to the answer, in milliseconds.
    pub p50: f64,
    /// The same.
    pub p99: f64,
    /// From the last answer until the jobs of all were done, in milliseconds.
    pub backlog: f64,
}

impl Shop {
    /// Opens a shop with one event and many seats.
    pub async fn open(servers: &Servers) -> Result<Self> {
        // The client insists on a TLS provider even though it only ever talks to loopback.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        let config = ProvidersConfig::default();
        let secret =
            |what: &str| format!("{what}{}{}", config.razorpay_webhook_secret, config.razorpay_key_secret);
        let tokens = config::Tokens { access: secret("a").into(), refresh: secret("r").into() };
        let webhook_secret = config.razorpay_webhook_secret.clone();
        let providers = Providers::start(config.clone()).await?;
        let port = ports::free();
        let configured = |mut command: Command| {
            command
                .envs(providers.env())
                .env("HOST", "127.0.0.1")
                .env("PORT", port.to_string())
                .env("FRONTEND_URL", "http://localhost:5173")
                // Counted as in production, and never too many.
                .env("RATE_LIMIT_ANONYMOUS", "1000000/1s")
                .env("RATE_LIMIT_USER", "1000000/1s")
                .env("JWT_SECRET", secret("a"))
                .env("JWT_REFRESH_SECRET", secret("r"));
            command
        };
        let mut api = configured(servers.command(&binary("nexus-api")?, "api")?);
        api.arg("serve");
        let worker = configured(servers.command(&binary("nexus-worker-payments")?, "payments")?);
        let mut shop = Shop {
            api: Process::spawn(api)?,
            worker: Process::spawn(worker)?,
            http,
            url: format!("http://127.0.0.1:{port}"),
            tokens: users(servers, &Signer::new(&tokens)).await?,
            event: 0,
            seat_type: 0,
            webhook_secret,
            next: AtomicU64::new(0),
            postgres: servers.postgres.id(),
            redis: servers.redis.id(),
            _providers: providers,
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !shop
            .http
            .get(format!("{}/ready", shop.url))
            .send()
            .await
            .is_ok_and(|answer| answer.status().is_success())
        {
            ensure!(shop.api.status().is_none() && Instant::now() < deadline, "the API is not ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        shop.put_on_sale().await?;
        Ok(shop)
    }

    async fn put_on_sale(&mut self) -> Result<()> {
        let event = json!({
            "name": "Bench", "description": "Bench", "location": "Bench",
            "start_date": "2099-05-01T18:00:00.000Z", "end_date": "2099-05-01T22:00:00.000Z",
            "seat_types": [{ "name": "Standing", "price": 100, "quantity": 1_000_000 }],
        });
        let request =
            self.http.post(format!("{}/api/v1/events/create", self.url)).bearer_auth(&self.tokens[0]);
        let created: Value = request.json(&event).send().await?.json().await?;
        self.event = created["data"]["event"]["id"].as_i64().with_context(|| created.to_string())?;
        self.seat_type =
            created["data"]["seat_types"][0]["id"].as_i64().with_context(|| created.to_string())?;
        Ok(())
    }

    /// Many clients lock one seat after the other, everybody another one.
    pub async fn lock_seats(&self, time: Duration) -> Result<Locked> {
        let url = format!("{}/api/v1/seats/{}/seat-types/{}/lock", self.url, self.event, self.seat_type);
        let (start, before) = (Instant::now(), self.cpu());
        let client = async || -> Result<Vec<f64>> {
            let mut took = Vec::new();
            while start.elapsed() < time {
                let seat = self.next.fetch_add(1, Ordering::Relaxed);
                let token = &self.tokens[seat as usize % self.tokens.len()];
                let request = self
                    .http
                    .post(&url)
                    .bearer_auth(token)
                    .json(&json!({ "seat_label": format!("S{seat}") }));
                let sent = Instant::now();
                let answer = request.send().await?;
                ensure!(answer.status().is_success(), "a lock was refused: {}", answer.text().await?);
                took.push(milliseconds(sent.elapsed()));
            }
            Ok(took)
        };
        let mut took = try_join_all((0..CLIENTS).map(|_| client())).await?.concat();
        let time = start.elapsed().as_secs_f64();
        let cpu = self.cpu() - before;
        took.sort_by(f64::total_cmp);
        Ok(Locked { rate: took.len() as f64 / time, p99: percentile(&took, 0.99), time, cpu })
    }

    /// Webhooks at a steady rate, whether they are answered or not.
    pub async fn deliver_webhooks(&self, servers: &Servers, time: Duration) -> Result<Delivered> {
        let count = (time.as_secs_f64() * f64::from(OFFERED)) as usize;
        let mut due = interval(Duration::from_secs(1) / OFFERED);
        due.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let start = Instant::now();
        let mut calls = Vec::new();
        for _ in 0..count {
            let due = due.tick().await.into_std();
            let request = self.webhook(self.next.fetch_add(1, Ordering::Relaxed));
            calls.push(tokio::spawn(async move {
                let answer = request.send().await?;
                anyhow::Ok((milliseconds(due.elapsed()), answer.status().is_success()))
            }));
        }
        let (mut took, mut stored) = (Vec::new(), 0);
        for call in calls {
            let (milliseconds, is_stored) = call.await??;
            took.push(milliseconds);
            stored += usize::from(is_stored);
        }
        let rate = stored as f64 / start.elapsed().as_secs_f64();
        let refused = (count - stored) as f64;
        took.sort_by(f64::total_cmp);
        let answered = Instant::now();
        let open = "SELECT EXISTS (SELECT FROM jobs WHERE state IN ('pending', 'queued', 'running') AND kind = 'process_webhook')";
        while sqlx::query_scalar(open).fetch_one(&servers.db).await? {
            ensure!(answered.elapsed() < Duration::from_secs(60), "webhooks are not processed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let backlog = milliseconds(answered.elapsed());
        Ok(Delivered { rate, refused, p50: percentile(&took, 0.5), p99: percentile(&took, 0.99), backlog })
    }

    /// About a payment for somebody else's order: stored, looked at, closed.
    fn webhook(&self, number: u64) -> reqwest::RequestBuilder {
        let payment = json!({
            "id": format!("pay_bench{number}"), "order_id": format!("order_bench{number}"), "amount": 10_000, "currency": "INR",
            "status": "failed", "method": "upi", "error_code": "BAD_REQUEST_ERROR", "error_description": "Payment failed",
        });
        let body = json!({ "entity": "event", "event": "payment.failed", "contains": ["payment"], "payload": { "payment": { "entity": payment } } });
        let body = body.to_string();
        self.http
            .post(format!("{}/api/v1/payments/webhook", self.url))
            .header("content-type", "application/json")
            .header("x-razorpay-signature", sign(&self.webhook_secret, body.as_bytes()))
            .header("x-razorpay-event-id", format!("evt_bench{number}"))
            .body(body)
    }

    fn cpu(&self) -> Cpu {
        Cpu::used(&[self.api.id()], self.postgres, self.redis)
    }

    /// Ends the processes.
    pub async fn close(mut self) -> Result<()> {
        let patience = Duration::from_secs(15);
        self.api.end(Signal::TERM, patience).await?;
        self.worker.end(Signal::TERM, patience).await?;
        Ok(())
    }
}

/// Makes the buyers; returns their tokens.
async fn users(servers: &Servers, signer: &Signer) -> Result<Vec<String>> {
    let insert = "INSERT INTO users (name, email)
                  SELECT 'Buyer ' || n, 'buyer-' || gen_random_uuid() || '@nexus.example' FROM generate_series(1, $1) n RETURNING id";
    let ids: Vec<i32> = sqlx::query_scalar(insert).bind(USERS as i32).fetch_all(&servers.db).await?;
    ids.into_iter().map(|id| Ok(signer.access(UserId(id))?)).collect()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
