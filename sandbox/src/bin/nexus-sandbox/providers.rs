//! `nexus-sandbox providers`: the stand-ins alone, for people who run the rest themselves.

use std::process::ExitCode;

use anyhow::Result;
use nexus_sandbox::providers::{Providers, ProvidersConfig};

use crate::settings::{Settings, port, sandbox_port};
use crate::stop;

pub(crate) async fn run() -> Result<ExitCode> {
    let api_port = port("PORT")?.unwrap_or(3000);
    let new = ProvidersConfig::default();
    let mut settings = Settings::default();
    settings.set_default("API_URL", &format!("http://127.0.0.1:{api_port}"));
    settings.set_default("RAZORPAY_KEY_ID", &new.razorpay_key_id);
    settings.set_default("RAZORPAY_KEY_SECRET", &new.razorpay_key_secret);
    settings.set_default("RAZORPAY_WEBHOOK_SECRET", &new.razorpay_webhook_secret);
    settings.set_default("TWILIO_ACCOUNT_SID", &new.twilio_account_sid);
    settings.set_default("TWILIO_AUTH_TOKEN", &new.twilio_auth_token);
    settings.set_default("TWILIO_VERIFY_SID", &new.twilio_verify_sid);

    let config = settings.providers(sandbox_port(api_port)?, port("SMTP_PORT")?.unwrap_or(0));
    let providers = Providers::start(config).await?;
    println!(
        "# {} lists what the stand-ins can do; webhooks go to {}",
        providers.url(),
        settings.get("API_URL")
    );
    for (name, value) in providers.env() {
        println!("{name}='{value}'");
    }
    stop::on_signal()?.cancelled().await;
    Ok(ExitCode::SUCCESS)
}
