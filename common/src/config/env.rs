//! Reading variables: what is missing or invalid is remembered, so that everything wrong is reported at once.

use std::{collections::HashSet, fmt::Display, str::FromStr, time::Duration};

use secrecy::SecretString;

/// What is wrong with the environment: one line per problem.
#[derive(Debug, thiserror::Error)]
#[error("the configuration is not usable:\n  - {}", .0.join("\n  - "))]
pub struct ConfigError(pub Vec<String>);

/// Reads variables and remembers what is wrong with them.
#[derive(Debug)]
pub struct Env {
    lookup: fn(&str) -> Option<String>,
    problems: Vec<String>,
    /// NODE_ENV is `production`.
    pub production: bool,
}

impl Env {
    /// The process's environment; `.env` fills in what is not set, except in production.
    pub fn read() -> Self {
        if std::env::var("NODE_ENV").as_deref() != Ok("production") {
            // No file is the normal case; a broken one shows up as missing variables.
            let _ = dotenvy::dotenv();
        }
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    pub(super) fn from_lookup(lookup: fn(&str) -> Option<String>) -> Self {
        let mut env = Env { lookup, problems: Vec::new(), production: false };
        match env.get("NODE_ENV").as_deref() {
            Some("production") => env.production = true,
            None | Some("development" | "test") => {}
            Some(_) => env.problem("NODE_ENV must be development, test or production"),
        }
        env
    }

    /// Builds the settings of a process, or lists everything that is wrong.
    pub fn load<T>(mut self, build: impl FnOnce(&mut Env) -> T) -> Result<T, ConfigError> {
        let settings = build(&mut self);
        if self.problems.is_empty() { Ok(settings) } else { Err(ConfigError(self.problems)) }
    }

    pub(super) fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        (self.lookup)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    pub(super) fn required(&mut self, name: &str) -> String {
        self.get(name).unwrap_or_else(|| {
            self.problem(format!("{name} is missing"));
            String::new()
        })
    }

    pub(super) fn or<T: FromStr>(&mut self, name: &str, default: T) -> T
    where
        T::Err: Display,
    {
        match self.get(name).map(|value| value.parse()) {
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

    /// One of a few words; the first is the default.
    pub(super) fn one_of<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> T {
        let given = self.get(name);
        let found =
            given.as_deref().map_or(words.first(), |given| words.iter().find(|(word, _)| *word == given));
        if let Some((_, value)) = found {
            return *value;
        }
        let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        self.problem(format!("{name} must be {}", known.join(" or ")));
        words[0].1
    }

    pub(super) fn between(&mut self, name: &str, default: u64, least: u64, most: u64) -> u64 {
        let value = self.or(name, default);
        if !(least..=most).contains(&value) {
            self.problem(format!("{name} must be between {least} and {most}"));
        }
        value
    }

    pub(super) fn milliseconds(&mut self, name: &str, default: u64, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.between(name, default, least, most))
    }

    pub(super) fn url(&mut self, name: &str, default: Option<&str>, schemes: &[&str]) -> String {
        let value = match (self.get(name), default) {
            (Some(value), _) => value,
            (None, Some(default)) => return default.to_owned(),
            (None, None) => return self.required(name),
        };
        let valid = reqwest::Url::parse(&value).is_ok_and(|url| schemes.contains(&url.scheme()));
        if !valid {
            self.problem(format!("{name} must be a URL that starts with {}://", schemes.join(":// or ")));
        }
        value.trim_end_matches('/').to_owned()
    }

    /// A provider's credential: any text, as long as it is there.
    pub(super) fn credential(&mut self, name: &str) -> SecretString {
        self.required(name).into()
    }

    /// A secret that we chose ourselves and that must resist guessing.
    pub(super) fn strong_secret(&mut self, name: &str) -> String {
        let value = self.required(name);
        if !value.is_empty()
            && let Err(reason) = strength(&value)
        {
            self.problem(format!("{name} is too weak: {reason}"));
        }
        value
    }
}

fn strength(secret: &str) -> Result<(), &'static str> {
    let lower = secret.to_lowercase();
    if secret.len() < 32 {
        Err("use at least 32 characters, for example from `openssl rand -base64 48`")
    } else if secret.chars().collect::<HashSet<_>>().len() < 10 {
        Err("it repeats too few characters")
    } else if ["changeme", "change-me", "change_me", "your-", "your_", "example", "password", "default"]
        .iter()
        .any(|word| lower.contains(word))
    {
        Err("it looks like a placeholder")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_and_repetitions_are_weak_secrets() {
        assert!(strength("your-super-secret-jwt-key-with-some-length").is_err());
        assert!(strength(&"ab".repeat(40)).is_err());
        assert!(strength("Zk3vQp9wLx7Tn2Rb8Ym4Cj6Hd1Fs5Ga0").is_ok());
    }
}
