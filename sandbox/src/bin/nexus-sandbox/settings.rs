//! The settings that a run needs: the user's where given, else kept from the last run, else made
//! up.

use anyhow::{Context, Result, bail};
use nexus_sandbox::providers::ProvidersConfig;
use nexus_sandbox::{ports, random};

use crate::data_folder::DataFolder;

/// Settings in the order in which they are written to the env file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings(pub(crate) Vec<(String, String)>);

impl Settings {
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value.into()));
    }

    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// The user's value, else this one.
    pub(crate) fn set_default(&mut self, name: &str, value: &str) {
        let given = std::env::var(name).ok().filter(|value| !value.is_empty());
        self.set(name, given.unwrap_or_else(|| value.to_owned()));
    }

    /// The user's value, else the kept one, else a new one that is kept.
    pub(crate) fn set_secret(
        &mut self,
        folder: &mut DataFolder,
        name: &str,
        new: &str,
    ) -> Result<()> {
        let known = folder.given(name).or_else(|| folder.own(name).map(str::to_owned));
        let value = match known {
            Some(value) => value,
            None => {
                folder.keep(name, new)?;
                new.to_owned()
            }
        };
        self.set(name, value);
        Ok(())
    }

    /// The user's value, else the address of something that we have started ourselves.
    pub(crate) fn set_address(
        &mut self,
        folder: &mut DataFolder,
        name: &str,
        ours: &str,
    ) -> Result<()> {
        match folder.given(name) {
            Some(value) => self.set(name, value),
            None => {
                folder.keep(name, ours)?;
                self.set(name, ours);
            }
        }
        Ok(())
    }

    /// Where the metrics of a process are to be found: the same place at every start, if it is
    /// free.
    pub(crate) fn set_metrics(&mut self, folder: &mut DataFolder, process: &str) -> Result<()> {
        let name = metrics_name(process);
        let kept = folder.own(&name).and_then(port_of).filter(|port| ports::claim(*port));
        let url = format!("http://127.0.0.1:{}/metrics", kept.unwrap_or_else(ports::free));
        folder.keep(&name, &url)?;
        self.set(&name, url);
        Ok(())
    }

    /// METRICS_ADDRESS of a process; every process needs one of its own.
    pub(crate) fn metrics_address(&self, process: &str) -> String {
        port_of(self.get(&metrics_name(process)))
            .map_or_else(String::new, |port| format!("127.0.0.1:{port}"))
    }

    /// Everything that can be said before any server is started.
    pub(crate) fn prepare(folder: &mut DataFolder) -> Result<Self> {
        let mut settings = Self::default();
        let port = port("PORT")?.unwrap_or(3000);
        if !ports::is_free(port) {
            bail!("port {port} is in use; set PORT to another one");
        }
        settings.set("PORT", port.to_string());
        settings.set_default("HOST", "127.0.0.1");
        let host = match settings.get("HOST") {
            "0.0.0.0" | "::" => "127.0.0.1",
            host => host,
        };
        let api_url = format!("http://{host}:{port}");
        settings.set("API_URL", &api_url);
        settings.set_default("PUBLIC_URL", &api_url);
        settings.set_default("NODE_ENV", "development");
        settings.set_default("TRUSTED_PROXIES", "127.0.0.0/8,::1/128");
        // One person at one address plays all users.
        settings.set_default("RATE_LIMIT_REGISTRATION", "100/1h");
        // Nobody waits for the day before the demo's event to scan a ticket.
        settings.set_default("DOOR_OPENS_HOURS_BEFORE_START", "1000000");
        settings.set_default("TWILIO_FROM", "+15005550006");
        settings.set_default("MAIL_FROM", "Nexus <tickets@nexus.example>");

        settings.set_secret(folder, "JWT_SECRET", &secret())?;
        settings.set_secret(folder, "JWT_REFRESH_SECRET", &secret())?;
        settings.set_secret(folder, "TICKET_SIGNING_KEY", &random::signing_key())?;
        let new = ProvidersConfig::default();
        for (name, value) in [
            ("TWILIO_ACCOUNT_SID", &new.twilio_account_sid),
            ("TWILIO_AUTH_TOKEN", &new.twilio_auth_token),
            ("TWILIO_VERIFY_SID", &new.twilio_verify_sid),
            ("RAZORPAY_KEY_ID", &new.razorpay_key_id),
            ("RAZORPAY_KEY_SECRET", &new.razorpay_key_secret),
            ("RAZORPAY_WEBHOOK_SECRET", &new.razorpay_webhook_secret),
        ] {
            settings.set_secret(folder, name, value)?;
        }
        Ok(settings)
    }

    /// Stand-ins that accept these credentials and send their webhooks to the API.
    pub(crate) fn providers(&self, port: u16, smtp_port: u16) -> ProvidersConfig {
        let get = |name: &str| self.get(name).to_owned();
        // While a secret is being rotated there are several; events are signed with the newest.
        let webhook_secret =
            self.get("RAZORPAY_WEBHOOK_SECRET").split(',').next().unwrap_or_default();
        ProvidersConfig {
            razorpay_key_id: get("RAZORPAY_KEY_ID"),
            razorpay_key_secret: get("RAZORPAY_KEY_SECRET"),
            razorpay_webhook_secret: webhook_secret.trim().to_owned(),
            twilio_account_sid: get("TWILIO_ACCOUNT_SID"),
            twilio_auth_token: get("TWILIO_AUTH_TOKEN"),
            twilio_verify_sid: get("TWILIO_VERIFY_SID"),
            webhook_url: Some(format!("{}/api/v1/payments/webhook", self.get("API_URL"))),
            port,
            smtp_port,
            ..ProvidersConfig::default()
        }
    }
}

/// `API_METRICS_URL`
fn metrics_name(process: &str) -> String {
    format!("{}_METRICS_URL", process.to_ascii_uppercase().replace('-', "_"))
}

/// A port number from the environment.
pub(crate) fn port(name: &str) -> Result<Option<u16>> {
    let given = std::env::var(name).ok().filter(|value| !value.is_empty());
    given
        .map(|value| value.parse().with_context(|| format!("{name} must be a port number")))
        .transpose()
}

/// `SANDBOX_PORT`, else the port after the API's, else any free one.
pub(crate) fn sandbox_port(api_port: u16) -> Result<u16> {
    match port("SANDBOX_PORT")? {
        Some(port) if !ports::is_free(port) => {
            bail!("port {port} is in use; set SANDBOX_PORT to another one")
        }
        Some(port) => Ok(port),
        None => Ok(api_port
            .checked_add(1)
            .filter(|port| ports::claim(*port))
            .unwrap_or_else(ports::free)),
    }
}

/// The port in an address such as `redis://127.0.0.1:6379/0`.
pub(crate) fn port_of(address: &str) -> Option<u16> {
    let after_colon = address.rsplit(':').next()?;
    after_colon.split('/').next()?.parse().ok()
}

/// 48 random bytes.
fn secret() -> String {
    use base64::Engine;
    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 48]>())
}
