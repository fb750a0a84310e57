//! A shop as in production: the API process and the workers of a seller, in front of servers that
//! it shares with nobody, with buyers and the providers' stand-ins.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nexus_common::{
    accounts::tokens::Signer, config, tickets::codes::SigningKey, types::ids::UserId,
};
use nexus_sandbox::{
    ports,
    process::{Process, Signal},
    providers::{Providers, ProvidersConfig, Target, sign},
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{
    http::{Connection, Request},
    requests::OnSale,
    seller::Seller,
    store::Store,
};
use crate::{cpu::Cpu, servers::Servers};

/// Buyers of a shop.
pub const BUYERS: usize = 2_000;

const LIMITS: [&str; 6] = [
    "RATE_LIMIT_ANONYMOUS",
    "RATE_LIMIT_USER",
    "RATE_LIMIT_CONNECTIONS",
    "RATE_LIMIT_COMMANDS",
    "RATE_LIMIT_LOGIN",
    "RATE_LIMIT_DOOR",
];

/// All clients have one address.
const AT_ONCE: [&str; 2] = ["HTTP_MAX_CONNECTIONS_PER_ADDRESS", "SOCKETS_PER_ADDRESS"];

/// The processes and their clients.
pub struct Site {
    api: Process,
    workers: Vec<Process>,
    /// What all of them know.
    configuration: Vec<(String, String)>,
    port: u16,
    /// What the stand-ins have been told, and been asked.
    pub providers: Providers,
    /// `users.id`
    pub buyers: Vec<i32>,
    /// One for each buyer.
    pub tokens: Vec<String>,
    /// The password of every buyer.
    pub password: String,
    pub signs_tickets: SigningKey,
    postgres: Option<u32>,
    redis: Option<u32>,
}

impl Site {
    /// Starts the processes of a seller on its database, which they reach at `database`.
    pub async fn open(
        servers: &Servers,
        seller: &Seller,
        store: &Store,
        database: &str,
    ) -> Result<Self> {
        Self::open_with(servers, seller, store, database, &[]).await
    }

    /// The same with settings of its own.
    pub async fn open_with(
        servers: &Servers,
        seller: &Seller,
        store: &Store,
        database: &str,
        settings: &[(String, String)],
    ) -> Result<Self> {
        let config = ProvidersConfig::default();
        let secret = |what: &str| {
            format!("{what}{}{}", config.razorpay_webhook_secret, config.razorpay_key_secret)
        };
        let tokens =
            config::Tokens { access: vec![secret("a").into()], refresh: vec![secret("r").into()] };
        let providers = Providers::start(config.clone()).await?;
        let port = ports::free();
        providers.set_webhook_url(format!("http://127.0.0.1:{port}/api/v1/payments/webhook"));
        let (signs_tickets, secret_key) = SigningKey::generate();
        let signing_key = secret_key.expose_secret().to_owned();
        let mut configuration = providers.env();
        configuration.extend([
            ("DATABASE_URL", database.to_owned()),
            ("HOST", "127.0.0.1".to_owned()),
            ("FRONTEND_URL", "http://localhost:5173".to_owned()),
            ("TICKET_SIGNING_KEY", signing_key.clone()),
            ("MAIL_FROM", "Tickets <tickets@nexus.example>".to_owned()),
            ("JWT_SECRET", secret("a")),
            ("JWT_REFRESH_SECRET", secret("r")),
            // Its events are far away.
            ("DOOR_OPENS_HOURS_BEFORE_START", "1000000".to_owned()),
        ]);
        // The limits count as in production, and are never reached.
        configuration.extend(LIMITS.map(|limit| (limit, "1000000/1s".to_owned())));
        configuration.extend(AT_ONCE.map(|limit| (limit, "1000000".to_owned())));
        let configuration = configuration.into_iter().map(|(name, value)| (name.to_owned(), value));
        let configuration: Vec<_> = configuration.chain(settings.iter().cloned()).collect();
        let configured = |command| configured(command, &configuration, port);
        let password = signing_key.clone();
        let hash = nexus_common::accounts::passwords::hash(password.clone()).await?;
        let buyers = store.users(BUYERS, &hash).await?;
        let signer = Signer::new(&tokens)?;
        let tokens =
            buyers.iter().map(|id| Ok(signer.access(UserId(*id), None)?)).collect::<Result<_>>();
        let workers = seller.workers(servers)?.into_iter().map(configured);
        let mut site = Site {
            api: configured(seller.api(servers)?)?,
            workers: workers.collect::<Result<_, _>>()?,
            configuration,
            port,
            providers,
            buyers,
            tokens: tokens?,
            password,
            signs_tickets,
            postgres: servers.postgres.id(),
            redis: servers.redis.id(),
        };
        until_ready(&mut site.api, port).await?;
        Ok(site)
    }

    /// Starts one more API process, at a port of its own.
    pub async fn another_api(&self, servers: &Servers, seller: &Seller) -> Result<(Process, u16)> {
        let port = ports::free();
        let mut api = configured(seller.api(servers)?, &self.configuration, port)?;
        until_ready(&mut api, port).await?;
        Ok((api, port))
    }

    /// The API's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The API's process id.
    pub fn api(&self) -> u32 {
        self.api.id()
    }

    /// A buyer's token.
    pub fn token(&self, buyer: usize) -> &str {
        &self.tokens[buyer % self.tokens.len()]
    }

    /// Puts an event with so many seats on sale, at 100 rupees each.
    pub async fn event(&self, seats: u32) -> Result<OnSale> {
        let event = json!({
            "name": "Bench", "description": "Bench", "location": "Bench", "max_tickets_per_user": 10_000,
            "start_date": "2099-05-01T18:00:00.000Z", "end_date": "2099-05-01T22:00:00.000Z",
            "seat_types": [{ "name": "Standing", "price": 100, "quantity": seats }],
        });
        let request = Request::post("events/create", Some(self.token(0)), &event.to_string());
        let created = Connection::open(self.port).await?.call(&request).await?.json()?;
        let id = |id: &Value| id.as_i64().map(|id| id as i32).with_context(|| created.to_string());
        let data = &created["data"];
        Ok(OnSale {
            event: id(&data["event"]["id"])?,
            seat_type: id(&data["seat_types"][0]["id"])?,
        })
    }

    /// Razorpay's news that an order has been paid.
    pub fn captured(&self, order: &str) -> Request {
        let payment = json!({
            "id": order.replace("order_", "pay_"), "order_id": order, "amount": 10_000, "currency": "INR",
            "status": "captured", "captured": true, "method": "upi",
        });
        self.webhook("payment.captured", &order.replace("order_", "evt_"), &payment)
    }

    /// Razorpay's news of a payment.
    pub fn webhook(&self, event: &str, id: &str, payment: &Value) -> Request {
        let body = json!({
            "entity": "event", "event": event, "contains": ["payment"],
            "payload": { "payment": { "entity": payment } },
        })
        .to_string();
        let signature = sign(&self.providers.config().razorpay_webhook_secret, body.as_bytes());
        let headers = [("x-razorpay-signature", signature.as_str()), ("x-razorpay-event-id", id)];
        Request::post_with("payments/webhook", &headers, &body)
    }

    /// A webhook about a payment for a foreign order: stored, looked at, closed.
    pub fn foreign_payment(&self, number: u64) -> Request {
        let payment = json!({
            "id": format!("pay_bench{number}"), "order_id": format!("order_bench{number}"), "amount": 10_000, "currency": "INR",
            "status": "failed", "method": "upi", "error_code": "BAD_REQUEST_ERROR", "error_description": "Payment failed",
        });
        self.webhook("payment.failed", &format!("evt_bench{number}"), &payment)
    }

    /// What everything has used so far.
    pub fn cpu(&self) -> Cpu {
        let workers: Vec<u32> = self.workers.iter().map(Process::id).collect();
        Cpu::used(&[self.api.id()], &workers, self.postgres, self.redis)
    }

    /// Memory of the API process, in MB.
    pub fn api_memory(&self) -> f64 {
        resident(self.api.id())
    }

    /// How many messages the mail server has been handed.
    pub fn mails(&self) -> u64 {
        self.providers.count(Target::Smtp).calls
    }

    /// Sends a signal to every worker.
    pub fn signal_workers(&mut self, signal: Signal) {
        self.workers.iter_mut().for_each(|worker| worker.signal(signal));
    }

    /// Ends the processes, which have to be running still.
    pub async fn close(mut self) -> Result<()> {
        for process in self.workers.iter_mut().chain([&mut self.api]) {
            let ended = process.status();
            ensure!(ended.is_none(), "a process has ended: {ended:?}");
            process.end(Signal::TERM, Duration::from_secs(15)).await?;
        }
        Ok(())
    }
}

fn configured(
    mut command: Command,
    configuration: &[(String, String)],
    port: u16,
) -> Result<Process> {
    let configuration = configuration.iter().map(|(name, value)| (name, value));
    command.envs(configuration).env("PORT", port.to_string());
    Ok(Process::spawn(command)?)
}

/// Waits until a process answers that it is ready.
pub async fn until_ready(process: &mut Process, port: u16) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let is_ready = async || {
        let ready = reqwest::get(format!("http://127.0.0.1:{port}/ready")).await;
        ready.is_ok_and(|response| response.status().is_success())
    };
    while !is_ready().await {
        let is_alive = process.status().is_none();
        ensure!(is_alive && Instant::now() < deadline, "the API is not ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Memory of a process, in MB.
pub fn resident(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kilobytes.unwrap_or(f64::NAN) / 1000.0
}
