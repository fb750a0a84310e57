//! The HTTP side of the API.

use std::net::IpAddr;

use reqwest::Url;

use super::Env;

/// Where the API listens, and who may call it from a browser.
#[derive(Debug, Clone)]
pub struct Http {
    /// HOST, 0.0.0.0
    pub host: IpAddr,
    /// PORT, 3000
    pub port: u16,
    /// FRONTEND_URL: the origins, separated by commas, that browsers may call from.
    pub frontends: Vec<String>,
}

impl Http {
    /// Reads the group.
    pub fn from_env(env: &mut Env) -> Self {
        let frontends: Vec<String> = env
            .required("FRONTEND_URL")
            .split(',')
            .map(|origin| origin.trim().trim_end_matches('/').to_owned())
            .filter(|origin| !origin.is_empty())
            .collect();
        for origin in &frontends {
            let is_origin = Url::parse(origin)
                .is_ok_and(|url| url.has_host() && url.path() == "/" && url.query().is_none());
            if !is_origin {
                env.problem(
                    "FRONTEND_URL must list origins such as https://tickets.example, separated by commas",
                );
            }
        }
        Http { host: env.or("HOST", IpAddr::from([0, 0, 0, 0])), port: env.or("PORT", 3000), frontends }
    }
}
