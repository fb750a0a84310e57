//! `nexus-sandbox run`: everything up, in order; everything down, in reverse.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nexus_sandbox::postgres::{Durability, Options, Postgres};
use nexus_sandbox::providers::Providers;
use nexus_sandbox::redis::Redis;

use crate::console::say;
use crate::data_folder::DataFolder;
use crate::demo::{self, Api};
use crate::settings::{self, Settings, port_of};
use crate::stop;
use crate::supervisor::{ProcfileEntry, Supervisor, read_procfile};

/// Everything that has been started so far, in this order.
#[derive(Default)]
struct Running {
    postgres: Option<Postgres>,
    redis: Option<Redis>,
    providers: Option<Providers>,
    supervisor: Option<Supervisor>,
}

impl Running {
    /// The processes first: they may still need what they depend on.
    async fn stop(self) {
        if let Some(supervisor) = self.supervisor {
            supervisor.stop().await;
        }
        drop(self.providers);
        for failure in [
            stopped(self.redis, async |mut redis: Redis| redis.stop().await).await,
            stopped(self.postgres, async |mut postgres: Postgres| postgres.stop().await).await,
        ] {
            if let Err(error) = failure {
                say(&format!("{error:#}"));
            }
        }
    }
}

async fn stopped<T>(server: Option<T>, stop: impl AsyncFnOnce(T) -> Result<()>) -> Result<()> {
    match server {
        Some(server) => stop(server).await,
        None => Ok(()),
    }
}

pub(crate) async fn run() -> Result<ExitCode> {
    let bin_dir = bin_dir()?;
    let entries = read_procfile(Path::new("Procfile"), &bin_dir)?;
    let mut folder = DataFolder::open()?;
    let mut settings = Settings::prepare(&mut folder)?;
    folder.remove_env();

    let stop = stop::on_signal()?;
    let mut running = Running::default();
    let result = tokio::select! {
        result = start(&mut running, &mut folder, &mut settings, entries, &bin_dir) => result,
        () = stop.cancelled() => Ok(()),
    };
    if result.is_ok() {
        stop.cancelled().await;
    }
    running.stop().await;
    folder.remove_env();
    result.map(|()| ExitCode::SUCCESS)
}

async fn start(
    running: &mut Running,
    folder: &mut DataFolder,
    settings: &mut Settings,
    entries: Vec<ProcfileEntry>,
    bin_dir: &Path,
) -> Result<()> {
    start_servers(running, folder, settings).await?;
    let migrate = ProcfileEntry::new("migrate", "nexus-api migrate", bin_dir, 0)
        .context("no migration command")?;
    migrate.run_once(settings).await?;

    for entry in &entries {
        settings.set_metrics(folder, entry.name())?;
    }
    let supervisor = running.supervisor.insert(Supervisor::start(entries, settings));
    let api = Api::new(settings.get("API_URL"))?;
    tokio::select! {
        () = until_ready(&api) => supervisor.api_is_ready(),
        () = supervisor.gave_up() => bail!("the API cannot start; its output above says why"),
    }
    let event = match &running.providers {
        Some(providers) => api.seed(providers).await,
        None => Err(anyhow!("there are no stand-ins")),
    };
    folder.write_env(&settings.0)?;
    print_summary(settings, folder, event);
    Ok(())
}

/// PostgreSQL and Redis unless the user has their own, and the stand-ins.
async fn start_servers(
    running: &mut Running,
    folder: &mut DataFolder,
    settings: &mut Settings,
) -> Result<()> {
    let kept_port = |folder: &DataFolder, name: &str| folder.own(name).and_then(port_of);
    let mut database_url = String::new();
    if folder.given("DATABASE_URL").is_none() {
        let options = Options { port: kept_port(folder, "DATABASE_URL"), ..Options::durable() };
        let postgres = Postgres::start(folder.path().join("postgres"), options).await?;
        database_url = running.postgres.insert(postgres).url();
    }
    settings.set_address(folder, "DATABASE_URL", &database_url)?;

    let mut redis_url = String::new();
    if folder.given("REDIS_URL").is_none() {
        let port = kept_port(folder, "REDIS_URL");
        let redis = Redis::start(folder.path().join("redis"), Durability::Durable, port).await?;
        redis_url = running.redis.insert(redis).url();
    }
    settings.set_address(folder, "REDIS_URL", &redis_url)?;

    let api_port = settings.get("PORT").parse()?;
    let smtp_port = kept_port(folder, "SMTP_URL").filter(|port| nexus_sandbox::ports::claim(*port));
    let config = settings.providers(settings::sandbox_port(api_port)?, smtp_port.unwrap_or(0));
    let providers = running.providers.insert(Providers::start(config).await?);
    settings.set("SANDBOX_URL", providers.url());
    // The demo page calls the API from the sandbox's origin.
    settings.set_default("FRONTEND_URL", &format!("http://localhost:5173,{}", providers.url()));
    settings.set_address(folder, "RAZORPAY_API_URL", &providers.razorpay_url())?;
    settings.set_address(folder, "TWILIO_VERIFY_URL", &providers.twilio_verify_url())?;
    settings.set_address(folder, "TWILIO_API_URL", &providers.twilio_url())?;
    settings.set_address(folder, "SMTP_URL", &providers.smtp_url())
}

async fn until_ready(api: &Api) {
    let mut last_word = Instant::now();
    while let Err(answer) = api.is_ready().await {
        if last_word.elapsed() > Duration::from_secs(15) {
            say(&format!("still waiting for the API: {answer}"));
            last_word = Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Where the other binaries are: beside this one unless said.
fn bin_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("NEXUS_BIN_DIR").filter(|dir| !dir.is_empty()) {
        return std::path::absolute(dir).context("NEXUS_BIN_DIR is no path");
    }
    let own = std::env::current_exe().context("cannot find out where this program is")?;
    Ok(own.parent().map(Path::to_owned).unwrap_or_default())
}

fn print_summary(settings: &Settings, folder: &DataFolder, event: Result<i64>) {
    let get = |name| settings.get(name);
    let (api, sandbox) = (get("API_URL"), get("SANDBOX_URL"));
    let event = match event {
        Ok(id) => format!("{api}/api/v1/events/{id}"),
        Err(error) => format!("not made: {error:#}"),
    };
    let account = |who: &demo::Account| {
        format!("{:<15} {} or {}, password {}", who.name, who.email, who.phone, who.password)
    };
    let owner = |name| if folder.given(name).is_some() { "yours" } else { "private" };
    let env_file = folder.env_file();
    let lines = format!(
        "\n\
         Nexus is ready.\n\
         \n\
         API          {api}/api/v1    readiness {api}/ready    Socket.IO {api}/socket.io/\n\
         Sandbox      {sandbox}/ (Razorpay, Twilio and mail stand-ins; the page lists what they can do)\n\
         Demo page    {sandbox}/demo?api={api}\n\
         Demo event   {event}\n\
         Accounts     {}\n\
         \x20            {}\n\
         Operators    {api}/admin, for accounts that `nexus-api set-role` has made admins and\n\
         \x20            `nexus-api operator-totp` has given an authenticator (docs/operations.md)\n\
         Metrics      {}; those of the workers are the *_METRICS_URL of the settings\n\
         \n\
         Read a code  curl {sandbox}/sandbox/otp/{}\n\
         Read mail    curl {sandbox}/sandbox/mail\n\
         Pay an order curl -H 'content-type: application/json' \\\n\
         \x20                 -d '{{\"order_id\":\"order_…\",\"outcome\":\"captured\"}}' {sandbox}/sandbox/pay\n\
         \n\
         Settings     . {}    then for instance: psql \"$DATABASE_URL\"\n\
         Data         {}; PostgreSQL {}, Redis {}\n\
         Stop         Ctrl-C; what was stored stays there for the next start\n",
        account(&demo::ORGANISER),
        account(&demo::BUYER),
        get("API_METRICS_URL"),
        demo::BUYER.phone,
        env_file.display(),
        folder.path().display(),
        owner("DATABASE_URL"),
        owner("REDIS_URL"),
    );
    lines.lines().for_each(say);
}
