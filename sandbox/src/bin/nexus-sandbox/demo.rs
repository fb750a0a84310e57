//! Demo data, made through the API as any client would make it. Running it again changes nothing.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use chrono::{SecondsFormat, TimeDelta, Utc};
use nexus_sandbox::providers::Providers;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

/// An account to log in as.
pub(crate) struct Account {
    pub(crate) name: &'static str,
    username: &'static str,
    pub(crate) email: &'static str,
    pub(crate) phone: &'static str,
    pub(crate) password: &'static str,
}

/// Owns the demo event.
pub(crate) const ORGANISER: Account = Account {
    name: "Demo Organiser",
    username: "demo-organiser",
    email: "organiser@nexus.example",
    phone: "+919000000001",
    password: "Seven-kites-1",
};

pub(crate) const BUYER: Account = Account {
    name: "Demo Buyer",
    username: "demo-buyer",
    email: "buyer@nexus.example",
    phone: "+919000000002",
    password: "Eight-kites-1",
};

/// A client for our own API.
pub(crate) struct Api {
    url: String,
    client: Client,
}

impl Api {
    pub(crate) fn new(url: &str) -> Result<Self> {
        // The client insists on a TLS provider even though it only ever talks to loopback.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        Ok(Self { url: url.to_owned(), client })
    }

    /// Whether `/ready` answers 200, and what it says otherwise.
    pub(crate) async fn is_ready(&self) -> Result<(), String> {
        let response = self.client.get(format!("{}/ready", self.url)).send().await;
        match response {
            Ok(response) if response.status() == 200 => Ok(()),
            Ok(response) => {
                Err(format!("{}: {}", response.status(), response.text().await.unwrap_or_default()))
            }
            Err(error) => Err(format!("{:#}", anyhow::Error::from(error))),
        }
    }

    /// The demo organiser with one event to come, and the demo buyer. Returns the event's id.
    pub(crate) async fn seed(&self, providers: &Providers) -> Result<i64> {
        self.log_in(&BUYER, providers).await?;
        let organiser = self.log_in(&ORGANISER, providers).await?;
        let organiser_id = &organiser["user"]["id"];
        let token = organiser["accessToken"].as_str().context("no access token")?;

        let path = format!("/events?organizer_id={organiser_id}&status=published&limit=100");
        let events = self.call(self.request(Method::GET, &path)).await?;
        let now = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        let to_come =
            |event: &&Value| event["start_date"].as_str().is_some_and(|start| start > now.as_str());
        if let Some(event) = events["data"].as_array().into_iter().flatten().find(to_come) {
            return event["id"].as_i64().context("the event has no id");
        }

        let start = Utc::now() + TimeDelta::days(30);
        let time =
            |hours| (start + TimeDelta::hours(hours)).to_rfc3339_opts(SecondsFormat::Millis, true);
        let event = json!({
            "name": "Monsoon Jazz Night",
            "description": "Two sets under one roof, whatever the weather.",
            "start_date": time(0),
            "end_date": time(4),
            "location": "Mumbai",
            "venue_name": "Harbour Hall",
            "max_tickets_per_user": 10,
            "seat_types": [
                {"name": "VIP", "price": 1500.00, "quantity": 50, "description": "First three rows"},
                {"name": "Standard", "price": 499.00, "quantity": 500},
            ],
        });
        let created = self.request(Method::POST, "/events/create").bearer_auth(token).json(&event);
        self.call(created).await?["data"]["event"]["id"].as_i64().context("the new event has no id")
    }

    /// Registers the account unless it exists; then its phone and its address are its own.
    async fn log_in(&self, account: &Account, providers: &Providers) -> Result<Value> {
        let Account { name, username, email, phone, password } = account;
        let login = json!({"email": email, "password": password});
        if let Ok(mut answer) =
            self.call(self.request(Method::POST, "/auth/login").json(&login)).await
        {
            return Ok(answer["data"].take());
        }
        let register = json!({"name": name, "username": username, "email": email, "phone": phone, "password": password});
        let mut answer =
            self.call(self.request(Method::POST, "/auth/register").json(&register)).await?;
        let session = answer["data"].take();
        let token = session["accessToken"].as_str().context("no access token")?;
        self.prove(account, token, providers).await?;
        Ok(session)
    }

    /// Proves the contacts of a new account with the codes that are sent there.
    async fn prove(&self, account: &Account, token: &str, providers: &Providers) -> Result<()> {
        let post = |path| self.request(Method::POST, path).bearer_auth(token);
        self.call(post("/auth/send-otp").json(&json!({"phone": account.phone}))).await?;
        let otp = arrived("the code", || providers.otp(account.phone)).await?.code;
        let proof = json!({"phone": account.phone, "otp": otp});
        self.call(post("/auth/change-phone").json(&proof)).await?;
        let code = || {
            let mail = providers.mail().into_iter().rfind(|mail| mail.to == [account.email])?;
            let (_, code) = mail.text.split_once("logged in: ")?;
            Some(code.lines().next()?.trim().to_owned())
        };
        let proof = json!({"code": arrived("the mail", code).await?});
        self.call(post("/auth/verify-email").json(&proof)).await?;
        Ok(())
    }

    /// Each request comes from an address of its own, so that rate limits do not matter.
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let [b, c, d] = rand::random::<[u8; 3]>();
        self.client
            .request(method, format!("{}/api/v1{path}", self.url))
            .header("x-forwarded-for", format!("10.{b}.{c}.{d}"))
    }

    async fn call(&self, request: RequestBuilder) -> Result<Value> {
        let response = request.send().await?;
        let (status, path) = (response.status(), response.url().path().to_owned());
        let text = response.text().await?;
        if !status.is_success() {
            bail!("{path} answered {status}: {text}");
        }
        serde_json::from_str(&text)
            .with_context(|| format!("{path} answered something other than JSON"))
    }
}

/// Waits a while for what a worker sends.
async fn arrived<T>(what: &str, look: impl Fn() -> Option<T>) -> Result<T> {
    for _ in 0..100 {
        if let Some(found) = look() {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("{what} does not arrive")
}
