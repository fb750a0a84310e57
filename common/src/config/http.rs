//! The HTTP side of the API.

use std::{
    net::{AddrParseError, IpAddr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;
use reqwest::Url;

use super::Env;

/// Where the API listens, which origins may call it from a browser, and how long it waits for
/// clients.
#[derive(Debug, Clone)]
pub struct Http {
    /// HOST, 0.0.0.0
    pub host: IpAddr,
    /// PORT, 3000
    pub port: u16,
    /// ADMIN_ADDRESS: where the operators' pages are served, and nothing else. Unset: where everything
    /// is.
    pub admin: Option<SocketAddr>,
    /// FRONTEND_URL: the origins that browsers may call from, separated by commas.
    pub frontends: Vec<String>,
    /// TRUSTED_PROXIES: proxies whose X-Forwarded-For is believed.
    pub proxies: Vec<IpNet>,
    /// HTTP_MAX_CONNECTIONS: connections open at once, sockets included. Unset: as many as the
    /// limit of open files allows.
    pub max_connections: usize,
    /// HTTP_MAX_CONNECTIONS_PER_ADDRESS, 4000: of these, those from one address that is no proxy of
    /// ours. A college of 2,000 people may have one.
    pub connections_per_address: usize,
    /// SOCKETS_PER_ADDRESS, 4000: sessions of Socket.IO at once of clients with one address.
    pub sockets_per_address: usize,
    /// HTTP_MAX_REQUESTS, 1000: requests and commands that are served at once.
    pub max_requests: usize,
    /// HTTP_LATENCY_TARGET_MS, 50: fewer are served at once where they would take longer, in the
    /// mean.
    pub latency_target: Duration,
    /// HTTP_TIMEOUT_MS, 15000: how long a request's head may take to arrive, its body after that,
    /// and a client to take its response, or a good part of it.
    pub timeout: Duration,
    /// HTTP_KEEP_ALIVE_MS, 75000: how long a connection may be idle between two requests.
    pub keep_alive: Duration,
}

impl Http {
    /// Reads the group.
    pub fn from_env(env: &mut Env) -> Self {
        let frontends = env.required("FRONTEND_URL");
        let frontends = frontends.split(',').map(str::trim).filter(|origin| !origin.is_empty());
        let frontends: Vec<_> = frontends.map(origin).collect();
        if frontends.contains(&None) {
            env.problem(
                "FRONTEND_URL must list origins such as https://tickets.example, separated by commas",
            );
        }
        for frontend in frontends.iter().flatten() {
            env.require_https("FRONTEND_URL", frontend);
        }
        Http {
            host: env.or("HOST", IpAddr::from([0, 0, 0, 0])),
            port: env.or("PORT", 3000),
            admin: admin_address(env),
            frontends: frontends.into_iter().flatten().collect(),
            proxies: trusted_proxies(env),
            max_connections: max_connections(env),
            connections_per_address: at_once(env, "HTTP_MAX_CONNECTIONS_PER_ADDRESS"),
            sockets_per_address: at_once(env, "SOCKETS_PER_ADDRESS"),
            max_requests: env.between("HTTP_MAX_REQUESTS", 1_000, 16, 100_000) as usize,
            latency_target: env.milliseconds("HTTP_LATENCY_TARGET_MS", 50, 5, 60_000),
            // Less than the 30 s after which clients give a request up.
            timeout: env.milliseconds("HTTP_TIMEOUT_MS", 15_000, 100, 25_000),
            keep_alive: env.milliseconds("HTTP_KEEP_ALIVE_MS", 75_000, 100, 3_600_000),
        }
    }
}

impl Http {
    /// What the sites are called whose pages call the API: their hosts without the last part.
    pub fn site_names(&self) -> impl Iterator<Item = String> {
        let hosts = self.frontends.iter().filter_map(|origin| origin.split("://").nth(1));
        hosts.filter_map(|host| host.rsplit_once('.')).map(|(name, _)| name.to_owned())
    }

    /// Whether an address is that of a proxy of ours.
    pub fn is_proxy(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.proxies.iter().any(|network| network.contains(&address))
    }
}

fn admin_address(env: &mut Env) -> Option<SocketAddr> {
    const NAME: &str = "ADMIN_ADDRESS";
    let address = env.optional(NAME);
    if address.is_none() && env.production {
        env.warning(format!("not set: {NAME}. /admin is served wherever the API is."));
    }
    address
}

/// An origin as browsers spell it: in lower case, without the default port. Patterns are not
/// origins.
fn origin(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let is_origin = matches!(url.scheme(), "http" | "https")
        && url.host_str().is_some_and(|host| !host.contains('*'))
        && (url.path(), url.query(), url.fragment()) == ("/", None, None)
        && (url.username(), url.password()) == ("", None);
    is_origin.then(|| url.origin().ascii_serialization())
}

/// TRUSTED_PROXIES: addresses and networks, separated by commas; none unless set.
fn trusted_proxies(env: &mut Env) -> Vec<IpNet> {
    let listed = env.get("TRUSTED_PROXIES").unwrap_or_default();
    let entries = listed.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let network = |entry: &str| entry.parse().or_else(|_| entry.parse::<IpAddr>().map(IpNet::from));
    let proxies: Result<Vec<IpNet>, _> = entries.map(network).collect();
    // Whoever is behind a proxy of ours may say that they are anybody.
    let is_too_large = |network: &IpNet| network.prefix_len() < 8;
    if proxies.iter().flatten().any(is_too_large) {
        env.problem("TRUSTED_PROXIES must not list networks larger than a /8: not all of those are your proxies");
    }
    proxies.unwrap_or_else(|_: AddrParseError| {
        env.problem(
            "TRUSTED_PROXIES must list addresses or networks such as 10.0.0.0/8, separated by commas",
        );
        Vec::new()
    })
}

/// How much one address may hold at once.
fn at_once(env: &mut Env, name: &str) -> usize {
    env.between(name, 4_000, 1, 1_000_000) as usize
}

fn max_connections(env: &mut Env) -> usize {
    match env.optional("HTTP_MAX_CONNECTIONS") {
        None => spare_files(),
        Some(0) => {
            env.problem("HTTP_MAX_CONNECTIONS must be at least 1");
            1
        }
        Some(count) => count,
    }
}

/// The number of files that this process may open, less those that it needs for PostgreSQL, Redis,
/// providers and itself.
fn spare_files() -> usize {
    const OWN: usize = 200;
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    // If the limit cannot be read, or there is none: as many as one process serves well.
    let files = files.and_then(|files| files.parse::<usize>().ok()).unwrap_or(20_000);
    files.saturating_sub(OWN).clamp(100, 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_as_browsers_spell_them_and_patterns_are_none() {
        let spelled = |text| origin(text).unwrap_or_default();
        assert_eq!(spelled("HTTPS://Tickets.Example:443/"), "https://tickets.example");
        assert_eq!(spelled("http://localhost:5173"), "http://localhost:5173");
        for none in
            ["*", "https://*", "https://*.example", "null", "tickets.example", "ftp://a.example"]
        {
            assert_eq!(origin(none), None, "{none}");
        }
        for more in [
            "https://a.example/path",
            "https://a.example?",
            "https://a.example#b",
            "https://u@a.example",
        ] {
            assert_eq!(origin(more), None, "{more}");
        }
    }
}
