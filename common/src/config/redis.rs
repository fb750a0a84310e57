//! Redis: its address, and its proof of identity.

use redis::{Client, RedisResult, TlsCertificates};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use super::{Env, env, secrets};
use crate::tls;

/// REDIS_URL, REDIS_CA_FILE and REDIS_TLS.
#[derive(Debug, Clone)]
pub struct Redis {
    /// With a user, a password and a database number, if there are any.
    pub url: SecretString,
    /// The CA that has signed the certificate of a `rediss://` server; by default one of the
    /// well-known CAs.
    pub ca: Option<Vec<u8>>,
}

impl Redis {
    /// The client behind every connection.
    pub fn client(&self) -> RedisResult<Client> {
        tls::install_crypto();
        let url = self.url.expose_secret();
        match self.ca.clone().filter(|_| url.starts_with("rediss:")) {
            Some(pem) => Client::build_with_tls(
                url,
                TlsCertificates { client_tls: None, root_cert: Some(pem) },
            ),
            None => Client::open(url),
        }
    }

    /// Reads the group.
    pub fn from_env(env: &mut Env) -> Self {
        let url = env.url("REDIS_URL", None, &["redis", "rediss"]);
        let tls = super::tls_required(env, "REDIS_TLS");
        let ca = env.certificates("REDIS_CA_FILE");
        secrets::check_password(env, "REDIS_URL", &url);
        let is_local = Url::parse(&url).is_ok_and(|url| env::is_local(&url));
        if url.starts_with("redis:") && tls.unwrap_or(env.production && !is_local) {
            env.problem(
                "REDIS_URL must start with rediss:// in production (REDIS_TLS=optional allows redis://)",
            );
        }
        if url.ends_with("#insecure") {
            env.problem(
                "REDIS_URL must not end with #insecure; name the authority in REDIS_CA_FILE",
            );
        }
        let redis = Redis { url: url.into(), ca };
        if redis.url.expose_secret().starts_with("redis") && redis.client().is_err() {
            env.problem("REDIS_URL has a part that is not understood");
        }
        redis
    }

    /// For a process that can do without.
    pub fn optional(env: &mut Env) -> Option<Self> {
        let given = env.get("REDIS_URL").is_some() || env.listing;
        given.then(|| Self::from_env(env))
    }
}
