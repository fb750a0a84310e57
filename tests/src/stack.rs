//! An empty installation for one test: servers, stand-ins, every Nexus process. Dropping it leaves
//! no trace.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use nexus_sandbox::identity::Identity;
use nexus_sandbox::ports;
use nexus_sandbox::postgres::{self, Durability, Postgres};
use nexus_sandbox::providers::{Providers, ProvidersConfig, sign};
use nexus_sandbox::redis::Redis;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::client::{Client, http_client};
use crate::program::{Environment, Program, binary, command};
use crate::qr;
use crate::response::Response;
use crate::settings::{TempDir, environment, secret};
use crate::template::{migrate, migrated_postgres};
use crate::waiting::eventually;

/// Every queue has a worker binary of its name.
pub const QUEUES: [&str; 6] = ["otp", "payments", "bookings", "expiry", "cleanup", "notifications"];

const START_PATIENCE: Duration = Duration::from_secs(30);

/// How to build a [`Stack`].
#[derive(Debug)]
pub struct Builder {
    workers: Vec<String>,
    env: Environment,
    api_processes: usize,
    measured: bool,
    webhook_retry: Duration,
    razorpay_minute: Duration,
    secured: Option<(Identity, String)>,
}

impl Builder {
    /// Only these workers; the others' jobs wait for ever.
    pub fn workers<'a>(mut self, queues: impl IntoIterator<Item = &'a str>) -> Self {
        self.workers = queues.into_iter().map(str::to_owned).collect();
        self
    }

    /// A setting for every process.
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.env.push((name.to_owned(), value.to_string()));
        self
    }

    /// Several settings for every process.
    pub fn settings(self, settings: &[(&str, &str)]) -> Self {
        settings.iter().fold(self, |builder, (name, value)| builder.env(name, value))
    }

    /// Switches rate limits off, for tests that ask for more than people do.
    pub fn without_limits(self) -> Self {
        self.env("RATE_LIMITS", "off")
    }

    /// How long a minute of Razorpay's capture options takes.
    pub fn razorpay_minute(mut self, minute: Duration) -> Self {
        self.razorpay_minute = minute;
        self
    }

    /// PostgreSQL and Redis take TLS connections only; every process knows the authority's
    /// certificate and insists on TLS.
    pub fn secured(mut self, identity: Identity, authority: &str) -> Self {
        self.secured = Some((identity, authority.to_owned()));
        self
    }

    /// Every process serves its metrics; [`Stack::metrics_urls`] says where.
    pub fn measured(mut self) -> Self {
        self.measured = true;
        self
    }

    /// So many API processes on one database and one Redis; none where only jobs matter.
    pub fn api_processes(mut self, count: usize) -> Self {
        self.api_processes = count;
        self
    }

    /// Starts everything and waits until the API is ready.
    pub async fn start(self) -> Stack {
        let dir = TempDir::create();
        let postgres = migrated_postgres(&dir).await;
        let api_processes = self.api_processes;
        let mut stack = self.servers(dir, postgres).await;
        stack.start_processes(api_processes).await;
        stack
    }

    /// Everything but the Nexus processes.
    pub(crate) async fn servers(self, dir: TempDir, mut postgres: Postgres) -> Stack {
        let config = ProvidersConfig {
            webhook_retry: self.webhook_retry,
            razorpay_minute: self.razorpay_minute,
            ..ProvidersConfig::default()
        };
        let providers = start_providers(config).await;
        let mut redis =
            Redis::start(dir.join("redis"), Durability::Throwaway, None).await.expect("Redis");
        if let Some((identity, _)) = &self.secured {
            postgres.secure(Some(identity)).await.expect("PostgreSQL");
            redis.secure(Some(identity)).await.expect("Redis");
        }
        let jwt_secret = secret();
        let mut env =
            environment(&postgres::url(postgres.port()), &redis.url(), &jwt_secret, &providers);
        if let Some((_, authority)) = &self.secured {
            let path = dir.join("authority.pem");
            std::fs::write(&path, authority).expect("a file");
            for server in ["DATABASE", "REDIS"] {
                env.push((format!("{server}_CA_FILE"), path.display().to_string()));
                env.push((format!("{server}_TLS"), "required".to_owned()));
            }
        }
        env.retain(|(name, _)| !self.env.iter().any(|(own, _)| own == name));
        env.extend(self.env);

        let mut metrics = BTreeMap::new();
        let mut measured = |name: &str| {
            let address = self.measured.then(|| format!("127.0.0.1:{}", ports::free()))?;
            metrics.insert(name.to_owned(), format!("http://{address}/metrics"));
            Some(("METRICS_ADDRESS".to_owned(), address))
        };
        let api_metrics = measured("api");
        let workers = self.workers.iter().map(|queue| {
            let name = format!("nexus-worker-{queue}");
            let env = env.iter().cloned().chain(measured(queue)).collect();
            (queue.clone(), Program::new(&name, &name, &[], env, &dir))
        });
        Stack {
            workers: workers.collect(),
            api_metrics,
            metrics,
            apis: Vec::new(),
            db: PgPoolOptions::new()
                .max_connections(4)
                .connect_lazy(&postgres.url())
                .expect("a pool"),
            http: http_client(),
            providers,
            redis,
            postgres,
            jwt_secret,
            env,
            dir,
        }
    }
}

/// The installation of one test.
pub struct Stack {
    /// By queue. Ended before the servers that they use.
    workers: BTreeMap<String, Program>,
    apis: Vec<(Program, String)>,
    /// METRICS_ADDRESS of the first API process.
    api_metrics: Option<(String, String)>,
    metrics: BTreeMap<String, String>,
    /// Connections to the database, for looking and for arranging.
    pub db: PgPool,
    /// Razorpay, Twilio, the mail server.
    pub providers: Providers,
    /// The Redis server.
    pub redis: Redis,
    /// The PostgreSQL server.
    pub postgres: Postgres,
    http: reqwest::Client,
    jwt_secret: String,
    env: Environment,
    /// Last, so that everything that writes there has ended.
    dir: TempDir,
}

impl Stack {
    /// One API process and every worker.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    pub fn builder() -> Builder {
        Builder {
            workers: QUEUES.map(str::to_owned).to_vec(),
            env: Vec::new(),
            api_processes: 1,
            measured: false,
            webhook_retry: Duration::from_millis(500),
            razorpay_minute: Duration::from_secs(60),
            secured: None,
        }
    }

    async fn start_processes(&mut self, api_processes: usize) {
        for number in 1..=api_processes {
            self.start_api(number).await;
        }
        self.workers.values_mut().for_each(Program::start);
        if let Some((_, url)) = self.apis.first() {
            self.providers.set_webhook_url(format!("{url}/api/v1/payments/webhook"));
        }
    }

    /// `nexus-api migrate`
    pub async fn migrate(&self) {
        migrate(&self.postgres, &self.dir).await;
    }

    /// Nexus takes over: the schema is migrated, the API and the workers start.
    pub async fn cut_over(&mut self) {
        self.migrate().await;
        self.start_processes(1).await;
    }

    async fn start_api(&mut self, number: usize) {
        for attempts_left in (0..5).rev() {
            let port = ports::free();
            let url = format!("http://127.0.0.1:{port}");
            let mut env = self.env.clone();
            env.push(("PORT".to_owned(), port.to_string()));
            env.extend(self.api_metrics.clone().filter(|_| number == 1));
            let mut program = Program::new(
                &format!("nexus-api-{number}"),
                "nexus-api",
                &["serve"],
                env,
                &self.dir,
            );
            program.start();
            let ready = eventually("the API is ready", START_PATIENCE, async || {
                if !program.is_running() {
                    return Ok(false);
                }
                self.readiness_at(&url).await.map(|()| true)
            });
            if ready.await {
                self.apis.push((program, url));
                return;
            }
            // Another process may have taken the port between the look and the bind.
            assert!(
                attempts_left > 0 && program.log().contains("cannot listen"),
                "the API ended:\n{}",
                program.log()
            );
        }
    }

    /// Starts an API process again on its port, and waits until it is ready.
    pub async fn restart_api(&mut self, index: usize) {
        self.apis[index].0.start();
        self.until_ready(index).await;
    }

    /// Waits until `/ready` says so.
    pub async fn until_ready(&self, index: usize) {
        self.until_ready_at(&self.apis[index].1).await;
    }

    /// Waits until `/ready` of another API process says so.
    pub async fn until_ready_at(&self, url: &str) {
        eventually("the API is ready", START_PATIENCE, async || self.readiness_at(url).await).await;
    }

    /// Waits until `/ready` says that this is missing, which may take a second; returns its answer.
    pub async fn until_missing(&self, what: &str) -> Response {
        let url = format!("{}/ready", self.api_url(0));
        eventually(&format!("{what} is missing"), START_PATIENCE, async || {
            let ready = Response::try_to(self.http.get(&url)).await?;
            let is_missing = ready.status == 503 && ready.body["checks"][what] == "failed";
            if is_missing { Ok(ready) } else { Err(ready.to_string()) }
        })
        .await
    }

    async fn readiness_at(&self, url: &str) -> Result<(), String> {
        let response = Response::try_to(self.http.get(format!("{url}/ready"))).await?;
        if response.status == 200 { Ok(()) } else { Err(response.to_string()) }
    }

    /// `http://host:port` of an API process, the first is 0.
    pub fn api_url(&self, index: usize) -> String {
        self.apis[index].1.clone()
    }

    /// An API process, the first is 0.
    pub fn api(&mut self, index: usize) -> &mut Program {
        &mut self.apis[index].0
    }

    /// The process ids of all Nexus processes; they change when one ends or is started again.
    pub fn process_ids(&mut self) -> Vec<u32> {
        let programs = self.apis.iter_mut().map(|(api, _)| api).chain(self.workers.values_mut());
        programs
            .filter_map(|program| program.is_running().then(|| program.id()).flatten())
            .collect()
    }

    /// The worker of a queue.
    pub fn worker(&mut self, queue: &str) -> &mut Program {
        self.workers
            .get_mut(queue)
            .unwrap_or_else(|| panic!("this stack has no worker for {queue}"))
    }

    /// Where the first API process (`api`) and the workers (by queue) serve their metrics.
    pub fn metrics_urls(&self) -> &BTreeMap<String, String> {
        &self.metrics
    }

    /// The queues that have a worker.
    pub fn queues(&self) -> Vec<&str> {
        self.workers.keys().map(String::as_str).collect()
    }

    /// The settings of every process.
    pub fn env(&self) -> &Environment {
        &self.env
    }

    /// What a ticket's picture says, if this installation has signed it.
    pub fn ticket_code(&self, ticket: &Value) -> qr::Claim {
        let picture = ticket["qr_code"].as_str().expect("a picture");
        let (width, height, text) = qr::read_data_url(picture);
        assert_eq!((width, height), (300, 300));
        self.ticket_text(&text)
    }

    /// The same for the text of a picture.
    pub fn ticket_text(&self, text: &str) -> qr::Claim {
        let key = self.env.iter().find(|(name, _)| name == "TICKET_SIGNING_KEY");
        qr::read_ticket(text, &key.expect("a key").1)
    }

    /// Ends every process and starts it again with these settings.
    pub async fn restart_with(&mut self, settings: &[(&str, &str)]) {
        for queue in self.queues().into_iter().map(str::to_owned).collect::<Vec<_>>() {
            let worker = self.worker(&queue);
            worker.stop().await;
            settings.iter().for_each(|(name, value)| worker.set_env(name, value));
            worker.start();
            worker.wait_for_log("worker ready", START_PATIENCE).await;
        }
        for index in 0..self.apis.len() {
            let api = self.api(index);
            api.stop().await;
            settings.iter().for_each(|(name, value)| api.set_env(name, value));
            self.restart_api(index).await;
        }
    }

    /// PostgreSQL's address without any options.
    pub fn plain_database_url(&self) -> String {
        postgres::url(self.postgres.port())
    }

    /// A directory that goes when the stack does.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A client that is not logged in.
    pub fn anonymous(&self) -> Client {
        Client::anonymous(&self.http, &self.api_url(0))
    }

    /// An access token such as the API would issue.
    pub fn mint_token(&self, user_id: i64) -> String {
        let now =
            std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_secs();
        let claims = json!({"userId": user_id, "type": "access", "iat": now, "exp": now + 1800});
        self.sign_token(&claims)
    }

    /// A token with any claims.
    pub fn sign_token(&self, claims: &Value) -> String {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({"alg": "HS256", "typ": "JWT"})), part(claims));
        let signature = sign(&self.jwt_secret, signed.as_bytes());
        let bytes = (0..signature.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&signature[i..i + 2], 16).unwrap_or(0));
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(bytes.collect::<Vec<_>>()))
    }

    /// Runs `nexus-jobs` with these words.
    pub async fn jobs_cli(&self, arguments: &[&str]) -> Output {
        self.cli("nexus-jobs", arguments).await
    }

    /// Runs `nexus-jobs` with every setting that the workers have.
    pub async fn jobs_cli_with_settings(&self, arguments: &[&str]) -> Output {
        run("nexus-jobs", arguments, &self.dir, &self.env).await
    }

    /// Runs `nexus-jobs` with these words, which have to succeed; returns what it printed.
    pub async fn jobs_cli_ok(&self, arguments: &[&str]) -> String {
        self.cli_ok("nexus-jobs", arguments).await
    }

    /// Runs `nexus-api` with these words.
    pub async fn api_cli(&self, arguments: &[&str]) -> Output {
        self.cli("nexus-api", arguments).await
    }

    /// Runs `nexus-api` with these words, which have to succeed; returns what it printed.
    pub async fn api_cli_ok(&self, arguments: &[&str]) -> String {
        self.cli_ok("nexus-api", arguments).await
    }

    /// Runs a program that needs the database only, and has to succeed; returns what it printed.
    pub async fn cli_ok(&self, program: &str, arguments: &[&str]) -> String {
        printed(program, arguments, self.cli(program, arguments).await)
    }

    async fn cli(&self, program: &str, arguments: &[&str]) -> Output {
        run(program, arguments, &self.dir, &vec![("DATABASE_URL".to_owned(), self.postgres.url())])
            .await
    }
}

async fn run(program: &str, arguments: &[&str], dir: &Path, env: &Environment) -> Output {
    let mut command = tokio::process::Command::from(command(&binary(program), dir, env));
    command.args(arguments).output().await.unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn printed(program: &str, arguments: &[&str], output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.apis.iter().for_each(|(api, _)| api.print_log());
            self.workers.values().for_each(Program::print_log);
        }
        // Processes first: otherwise they would log that their servers go away.
        self.workers.clear();
        self.apis.clear();
    }
}

/// On ports that are free; another test may take one between the look and the bind.
async fn start_providers(config: ProvidersConfig) -> Providers {
    for _ in 0..4 {
        if let Ok(providers) = Providers::start(config.clone()).await {
            return providers;
        }
    }
    Providers::start(config).await.expect("the providers")
}
