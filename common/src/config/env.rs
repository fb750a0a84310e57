//! Reading variables: missing and invalid ones are collected, so that all problems are reported at
//! once.

use std::{collections::BTreeMap, fmt::Display, net::IpAddr, str::FromStr, time::Duration};

use reqwest::Url;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use secrecy::SecretString;

use super::secrets;

/// The problems of the environment: one line per problem.
#[derive(Debug, thiserror::Error)]
#[error("the configuration is not usable:\n  - {}", .0.join("\n  - "))]
pub struct ConfigError(pub Vec<String>);

/// Reads variables and collects their problems.
#[derive(Debug)]
pub struct Env {
    lookup: fn(&str) -> Option<String>,
    problems: Vec<String>,
    warnings: Vec<String>,
    /// Every variable that was asked for, with its default.
    asked: BTreeMap<String, Option<String>>,
    /// Only lists the variables; reads nothing.
    pub(super) listing: bool,
    /// NODE_ENV is `production`.
    pub production: bool,
}

impl Env {
    /// The process's environment; except in production, `.env` fills in variables that are not set.
    #[expect(clippy::disallowed_methods, reason = "settings are read here, and nowhere else")]
    pub fn read() -> Self {
        if std::env::var("NODE_ENV").as_deref() != Ok("production") {
            // Usually there is no file; a broken one shows up as missing variables.
            let _ = dotenvy::dotenv();
        }
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    pub(super) fn from_lookup(lookup: fn(&str) -> Option<String>) -> Self {
        let mut env = Env {
            lookup,
            problems: Vec::new(),
            warnings: Vec::new(),
            asked: BTreeMap::new(),
            listing: false,
            production: false,
        };
        match env.get("NODE_ENV").as_deref() {
            Some("production") => env.production = true,
            Some("development" | "test") => {}
            None => env.warning("not set: NODE_ENV. Servers need not prove who they are, and everybody may create events: for development only."),
            Some(_) => env.problem("NODE_ENV must be development, test or production"),
        }
        env
    }

    /// Builds the settings of a process, or lists all problems.
    pub fn load<T>(mut self, build: impl FnOnce(&mut Env) -> T) -> Result<T, ConfigError> {
        let settings = build(&mut self);
        if self.problems.is_empty() { Ok(settings) } else { Err(ConfigError(self.problems)) }
    }

    /// The variables that `build` reads, one per line, with their defaults: `PORT=3000`, or just
    /// `DATABASE_URL`.
    pub fn list<T>(build: impl FnOnce(&mut Env) -> T) -> String {
        let mut env = Env { listing: true, ..Self::from_lookup(|_| None) };
        build(&mut env);
        let line = |(name, default): (String, Option<String>)| match default {
            Some(default) => format!("{name}={default}\n"),
            None => format!("{name}\n"),
        };
        env.asked.into_iter().map(line).collect()
    }

    /// Adds a problem.
    pub fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
    }

    pub(super) fn warning(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }

    /// Warnings that do not prevent the start; log them once there is a log.
    pub fn warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    pub(super) fn get(&mut self, name: &str) -> Option<String> {
        self.asked.entry(name.to_owned()).or_default();
        (self.lookup)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// The same for a variable that has a default.
    fn get_or(&mut self, name: &str, default: impl ToString) -> Option<String> {
        self.asked.insert(name.to_owned(), Some(default.to_string()));
        self.get(name)
    }

    /// Lists variables that a library reads by itself.
    pub(super) fn left_to_library(&mut self, names: &[&str]) {
        for name in names {
            self.get(name);
        }
    }

    /// Whether any of a group of settings is set. If none is, the feature that needs them is off,
    /// which the log says at start.
    pub(super) fn has_any_of(&mut self, names: &[&str], off: &str) -> bool {
        let given = names.iter().filter(|name| self.get(name).is_some()).count();
        if given == 0 && !self.listing {
            self.warning(format!("not set: {}. Off: {off}.", names.join(", ")));
        }
        given > 0 || self.listing
    }

    pub(super) fn required(&mut self, name: &str) -> String {
        self.get(name).unwrap_or_else(|| {
            self.problem(format!("{name} is missing"));
            String::new()
        })
    }

    pub(super) fn or<T: FromStr + Display>(&mut self, name: &str, default: T) -> T
    where
        T::Err: Display,
    {
        match self.get_or(name, &default).map(|value| value.parse()) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(error)) => {
                self.problem(format!("{name} is invalid: {error}"));
                default
            }
        }
    }

    pub(super) fn optional<T: FromStr>(&mut self, name: &str) -> Option<T>
    where
        T::Err: Display,
    {
        let value = self.get(name)?;
        match value.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(format!("{name} is invalid: {error}"));
                None
            }
        }
    }

    /// One of several words; the first is the default.
    pub(super) fn one_of<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> T {
        let (default, usual) = words[0];
        let Some(given) = self.get_or(name, default) else { return usual };
        match words.iter().find(|(word, _)| *word == given) {
            Some((_, value)) => *value,
            None => {
                let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                self.problem(format!("{name} must be {}", known.join(" or ")));
                usual
            }
        }
    }

    pub(super) fn between(&mut self, name: &str, default: u64, least: u64, most: u64) -> u64 {
        let value = self.or(name, default);
        if !(least..=most).contains(&value) {
            self.problem(format!("{name} must be between {least} and {most}"));
        }
        value
    }

    pub(super) fn milliseconds(
        &mut self,
        name: &str,
        default: u64,
        least: u64,
        most: u64,
    ) -> Duration {
        Duration::from_millis(self.between(name, default, least, most))
    }

    pub(super) fn url(&mut self, name: &str, default: Option<&str>, schemes: &[&str]) -> String {
        let value = match default {
            Some(default) => match self.get_or(name, default) {
                Some(value) => value,
                None => return default.to_owned(),
            },
            None => self.required(name),
        };
        if value.is_empty() {
            return value;
        }
        let valid = Url::parse(&value).is_ok_and(|url| schemes.contains(&url.scheme()));
        if !valid {
            self.problem(format!(
                "{name} must be a URL that starts with {}://",
                schemes.join(":// or ")
            ));
        }
        value.trim_end_matches('/').to_owned()
    }

    /// The URL of a provider's API. In production no secret travels in the clear, except to this
    /// machine.
    pub(super) fn provider_url(&mut self, name: &str, default: &str) -> String {
        let value = self.url(name, Some(default), &["https", "http"]);
        self.require_https(name, &value);
        value
    }

    /// In production, no address of ours or others' is one where anybody in between reads along.
    pub(super) fn require_https(&mut self, name: &str, value: &str) {
        let is_clear = Url::parse(value).is_ok_and(|url| url.scheme() == "http" && !is_local(&url));
        if self.production && is_clear {
            self.problem(format!("{name} must start with https:// in production"));
        }
    }

    /// The certificates in a PEM file.
    pub(super) fn certificates(&mut self, name: &str) -> Option<Vec<u8>> {
        let path = self.get(name)?;
        let Ok(pem) = std::fs::read(path) else {
            self.problem(format!("{name} names a file that cannot be read"));
            return None;
        };
        let mut certificates = CertificateDer::pem_slice_iter(&pem).peekable();
        if certificates.peek().is_none() || certificates.any(|certificate| certificate.is_err()) {
            self.problem(format!("{name} names a file that is not PEM with certificates"));
            return None;
        }
        Some(pem)
    }

    /// The text of a file.
    pub(super) fn file(&mut self, name: &str) -> Option<String> {
        let path = self.get(name)?;
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(error) => {
                self.problem(format!("{name} cannot be read: {error}"));
                None
            }
        }
    }

    /// A provider's credential; in production not a guessable one.
    pub(super) fn credential(&mut self, name: &str) -> SecretString {
        let value = self.required(name);
        if self.production && !value.is_empty() {
            self.refuse_weak(name, secrets::guessable(&value));
        }
        value.into()
    }

    /// A secret that we chose ourselves and that must resist guessing.
    pub(super) fn strong_secret(&mut self, name: &str) -> String {
        let value = self.required(name);
        if !value.is_empty() {
            self.refuse_weak(name, secrets::weakness(&value));
        }
        value
    }

    pub(super) fn refuse_weak(&mut self, name: &str, weakness: Option<&str>) {
        if let Some(why) = weakness {
            self.problem(format!("{name} is too weak: {why}"));
        }
    }
}

/// Whether a URL leads to this machine, so that nothing sent there passes a network.
pub(super) fn is_local(url: &Url) -> bool {
    url.host_str().is_some_and(is_local_host)
}

pub(super) fn is_local_host(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
