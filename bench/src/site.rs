//! A shop as in production: a real API process and the payments worker of a release, in front of
//! servers of its own, with buyers and the providers' stand-ins.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nexus_common::{accounts::tokens::Signer, config, types::ids::UserId};
use nexus_sandbox::{
    ports,
    process::{Process, Signal},
    providers::{Providers, ProvidersConfig},
};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use crate::{cpu::Cpu, release::Release, servers::Servers};

const USERS: usize = 2_000;

/// The processes and their clients.
pub struct Site {
    api: Process,
    worker: Process,
    http: Client,
    url: String,
    /// What the stand-ins have been told, and been asked.
    pub providers: Providers,
    /// One a buyer.
    pub tokens: Vec<String>,
    postgres: Option<u32>,
    redis: Option<u32>,
}

/// An event with one seat type.
#[derive(Debug, Clone, Copy)]
pub struct OnSale {
    event: i64,
    seat_type: i64,
}

impl OnSale {
    /// `events.id`
    pub fn event(self) -> i32 {
        self.event as i32
    }
}

impl Site {
    /// Starts the processes of `release`, which reach PostgreSQL at `database_port`.
    pub async fn open(servers: &Servers, release: &Release, database_port: u16) -> Result<Self> {
        // The client insists on a TLS provider even though it only ever talks to loopback.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        let config = ProvidersConfig::default();
        let secret = |what: &str| {
            format!("{what}{}{}", config.razorpay_webhook_secret, config.razorpay_key_secret)
        };
        let tokens = config::Tokens { access: secret("a").into(), refresh: secret("r").into() };
        let providers = Providers::start(config.clone()).await?;
        let port = ports::free();
        let url = format!("http://127.0.0.1:{port}");
        providers.set_webhook_url(format!("{url}/api/v1/payments/webhook"));
        let configured = |mut command: Command| {
            command
                .envs(providers.env())
                .env("DATABASE_URL", nexus_sandbox::postgres::url(database_port))
                .env("HOST", "127.0.0.1")
                .env("PORT", port.to_string())
                .env("FRONTEND_URL", "http://localhost:5173")
                // The limits count as in production, and are never reached.
                .env("RATE_LIMIT_ANONYMOUS", "1000000/1s")
                .env("RATE_LIMIT_USER", "1000000/1s")
                .env("JWT_SECRET", secret("a"))
                .env("JWT_REFRESH_SECRET", secret("r"));
            command
        };
        let mut api = configured(servers.command(&release.binary("nexus-api")?, "api")?);
        api.arg("serve");
        let worker =
            configured(servers.command(&release.binary("nexus-worker-payments")?, "payments")?);
        let mut site = Site {
            api: Process::spawn(api)?,
            worker: Process::spawn(worker)?,
            http,
            url,
            providers,
            tokens: users(servers, &Signer::new(&tokens)?).await?,
            postgres: servers.postgres.id(),
            redis: servers.redis.id(),
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !site
            .http
            .get(format!("{}/ready", site.url))
            .send()
            .await
            .is_ok_and(|response| response.status().is_success())
        {
            ensure!(
                site.api.status().is_none() && Instant::now() < deadline,
                "the API is not ready"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(site)
    }

    /// Puts an event with so many seats on sale, at 100 rupees each.
    pub async fn event(&self, seats: u32) -> Result<OnSale> {
        let event = json!({
            "name": "Bench", "description": "Bench", "location": "Bench", "max_tickets_per_user": 10_000,
            "start_date": "2099-05-01T18:00:00.000Z", "end_date": "2099-05-01T22:00:00.000Z",
            "seat_types": [{ "name": "Standing", "price": 100, "quantity": seats }],
        });
        let created = self.ask(&self.tokens[0], "events/create", &event).await?;
        Ok(OnSale {
            event: created["data"]["event"]["id"].as_i64().with_context(|| created.to_string())?,
            seat_type: created["data"]["seat_types"][0]["id"]
                .as_i64()
                .with_context(|| created.to_string())?,
        })
    }

    /// A request for a seat.
    pub fn lock(&self, token: &str, on_sale: OnSale, label: &str) -> RequestBuilder {
        let path = format!("seats/{}/seat-types/{}/lock", on_sale.event, on_sale.seat_type);
        self.post(&path).bearer_auth(token).json(&json!({ "seat_label": label }))
    }

    /// Locks and books a seat; returns the id of the order that pays for it.
    pub async fn order(&self, token: &str, on_sale: OnSale, label: &str) -> Result<String> {
        let locked = self.lock(token, on_sale, label).send().await?;
        ensure!(locked.status().is_success(), "a lock was refused: {}", locked.text().await?);
        let seat = json!({ "seat_label": label, "seat_type_id": on_sale.seat_type });
        let booking = json!({ "event_id": on_sale.event, "seat_details": [seat] });
        let booked = self.ask(token, "bookings/create", &booking).await?;
        let order = json!({ "booking_id": booked["data"]["booking"]["id"], "amount": 100 });
        let created = self.ask(token, "payments/create-order", &order).await?;
        let id = created["data"]["order_id"].as_str().with_context(|| created.to_string())?;
        Ok(id.to_owned())
    }

    /// A POST below `/api/v1/`.
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(format!("{}/api/v1/{path}", self.url))
    }

    async fn ask(&self, token: &str, path: &str, body: &Value) -> Result<Value> {
        Ok(self.post(path).bearer_auth(token).json(body).send().await?.json().await?)
    }

    /// What the API and both servers have used so far.
    pub fn cpu(&self) -> Cpu {
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
    let ids: Vec<i32> =
        sqlx::query_scalar(insert).bind(USERS as i32).fetch_all(&servers.db).await?;
    ids.into_iter().map(|id| Ok(signer.access(UserId(id))?)).collect()
}

/// A duration as reports write it.
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
