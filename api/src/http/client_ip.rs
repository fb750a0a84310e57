//! Where a request comes from, as far as proxies can be believed.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
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

    /// The networks that it belongs to, its own first, each with how many times as much as one
    /// client it gets. One person may command all of a wide one: who rents a server is given a /48
    /// for the asking, and whole /24s are for rent, too. So it gets far less than all its addresses
    /// together would; but more than one of them, because strangers share it: those of a home have
    /// a /56, those of an office a /48, and providers put subscribers beside each other in a /24.
    pub(crate) fn networks(self) -> impl Iterator<Item = (Network, u32)> {
        let layers: &[(u8, u32)] = match self.0 {
            IpAddr::V4(_) => &[(32, 1), (24, 16)],
            IpAddr::V6(_) => &[(64, 1), (56, 4), (48, 16)],
        };
        layers.iter().map(move |(prefix, times)| (Network::of(self.0, *prefix), *times))
    }

    /// The one that limits take for the client's own.
    pub(crate) fn network(self) -> Network {
        Network::of(self.0, if self.0.is_ipv4() { 32 } else { 64 })
    }

    /// The widest of them.
    pub(crate) fn widest(self) -> Network {
        Network::of(self.0, if self.0.is_ipv4() { 24 } else { 48 })
    }
}

impl fmt::Display for ClientIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.network().fmt(f)
    }
}

/// The addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Network {
    first: IpAddr,
    prefix: u8,
}

impl Network {
    fn of(address: IpAddr, prefix: u8) -> Self {
        let first = match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                Ipv4Addr::from_bits(address.to_bits() & mask).into()
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                Ipv6Addr::from_bits(address.to_bits() & mask).into()
            }
        };
        Network { first, prefix }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Network { first: IpAddr::V4(address), prefix: 32 } => address.fmt(f),
            Network { first, prefix } => write!(f, "{first}/{prefix}"),
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

    #[test]
    fn a_client_belongs_to_wider_networks() {
        let networks = |address: &str| {
            let client = ClientIp::peer(address.parse().unwrap());
            let networks: Vec<_> = client.networks().map(|(network, _)| network).collect();
            assert_eq!(networks.last(), Some(&client.widest()));
            networks.iter().map(Network::to_string).collect::<Vec<_>>()
        };
        assert_eq!(networks("203.0.113.7"), ["203.0.113.7", "203.0.113.0/24"]);
        assert_eq!(
            networks("2001:db8:1:23ff::1"),
            ["2001:db8:1:23ff::/64", "2001:db8:1:2300::/56", "2001:db8:1::/48"]
        );
    }
}
