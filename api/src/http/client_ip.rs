//! Where a request comes from, as far as proxies can be believed.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use http::HeaderMap;
use ipnet::IpNet;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The client's address: the peer's, or what our proxies say. Displayed as the network that limits
/// count: an IPv4 address, or the /64 of an IPv6 address, all of which a client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientIp(IpAddr);

impl ClientIp {
    /// The address at the other end of a connection, which may be a proxy.
    pub(crate) fn peer(peer: IpAddr) -> Self {
        ClientIp(peer.to_canonical())
    }

    /// Each proxy appends the address of its client at the right. So an entry is believed if one of
    /// our proxies wrote it, and the first one from the right that is not our proxy is the client.
    pub(crate) fn of(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> Self {
        let is_proxy = |address: &IpAddr| proxies.iter().any(|network| network.contains(address));
        let lines: Vec<&str> = headers
            .get_all(FORWARDED_FOR)
            .iter()
            .map(|line| line.to_str().unwrap_or("unreadable"))
            .collect();
        let mut entries = lines.iter().rev().flat_map(|line| line.rsplit(','));
        let mut client = peer.to_canonical();
        while is_proxy(&client)
            && let Some(entry) = entries.next().and_then(address)
        {
            client = entry;
        }
        ClientIp(client)
    }

    /// The network that limits count: an IPv4 address, or the first address of a /64.
    pub(crate) fn network(self) -> IpAddr {
        match self.0 {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
        }
    }
}

impl fmt::Display for ClientIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.network() {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(first) => write!(f, "{first}/64"),
        }
    }
}

/// The address in an entry; some proxies add the port.
fn address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let bare = entry.trim_start_matches('[').trim_end_matches(']').parse();
    let address = bare.or_else(|_| entry.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
        }
        let proxies = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
        ClientIp::of(peer.parse().unwrap(), &headers, &proxies).to_string()
    }

    #[test]
    fn only_our_proxies_are_believed() {
        assert_eq!(client("203.0.113.7", &["198.51.100.1"]), "203.0.113.7");
        assert_eq!(client("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("fd00::1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn the_right_most_entry_that_is_no_proxy_is_the_client() {
        assert_eq!(client("10.0.0.1", &["1.1.1.1, 198.51.100.1, 10.0.0.2"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["1.1.1.1", "198.51.100.1", "10.0.0.2"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
    }

    #[test]
    fn beyond_garbage_nothing_is_believed() {
        for garbage in
            ["unknown", "", "1.1.1", "1.1.1.1.1", "<script>", "999.1.1.1", "_hidden", "[", ",,"]
        {
            assert_eq!(
                client("10.0.0.1", &[&format!("1.1.1.1, {garbage}")]),
                "10.0.0.1",
                "{garbage}"
            );
            assert_eq!(
                client("10.0.0.1", &[&format!("1.1.1.1, {garbage}, 10.0.0.2")]),
                "10.0.0.2",
                "{garbage}"
            );
        }
    }

    #[test]
    fn addresses_are_read_however_they_are_written() {
        for written in [
            "198.51.100.1",
            "198.51.100.1:4711",
            "::ffff:198.51.100.1",
            "[::ffff:198.51.100.1]:4711",
        ] {
            assert_eq!(client("10.0.0.1", &[written]), "198.51.100.1", "{written}");
        }
        assert_eq!(client("::ffff:203.0.113.7", &[]), "203.0.113.7");
        assert_eq!(client("::ffff:10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
    }

    #[test]
    fn an_ipv6_client_is_its_64() {
        for written in
            ["2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", "[2001:db8:1:2::1]:4711"]
        {
            assert_eq!(client("10.0.0.1", &[written]), "2001:db8:1:2::/64", "{written}");
        }
        assert_eq!(client("10.0.0.1", &["2001:db8:1:3::1"]), "2001:db8:1:3::/64");
    }
}
