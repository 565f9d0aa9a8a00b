//! Where a connection comes from: its TCP peer, or what a trusted proxy says of it.

use crate::network::NetworkPrefix;
use ipnet::{IpNet, Ipv4Net};
use std::net::{IpAddr, SocketAddr};
use tokio_tungstenite::tungstenite::http::HeaderMap;

/// The one header that counts. A proxy that writes one name and passes another on would let its clients choose.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// How many proxies one after the other are believed.
const MAX_HOPS: usize = 16;

/// An IPv4 address is the rest of an IPv6 address after so many bits.
const MAPPED_BITS: u8 = 96;

/// Whom a connection counts against, and what may be said of its network.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) struct Origin {
    /// The client, or the proxy that does not say who that is.
    pub(crate) source: NetworkPrefix,
    /// The client's network, if it is known.
    pub(crate) network: Option<NetworkPrefix>,
}

/// A network of IPv4 addresses that is written as one of IPv6, as IPv4.
pub(crate) fn canonical(net: IpNet) -> IpNet {
    match net {
        IpNet::V6(v6) if v6.prefix_len() >= MAPPED_BITS => {
            let mapped = v6.addr().to_ipv4_mapped();
            let v4 = mapped.and_then(|v4| Ipv4Net::new(v4, v6.prefix_len() - MAPPED_BITS).ok());
            v4.map_or(net, IpNet::V4)
        }
        _ => net,
    }
}

/// Whether what this TCP peer says of its clients counts.
pub(crate) fn is_trusted(peer: IpAddr, trusted: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    trusted.iter().any(|net| net.contains(&peer))
}

/// The origin of a connection whose peer is the client.
pub(crate) fn direct(peer: IpAddr) -> Origin {
    let prefix = NetworkPrefix::of(peer);
    Origin { source: prefix, network: Some(prefix) }
}

/// The origin of a connection from a trusted proxy.
pub(crate) fn forwarded(proxy: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Origin {
    match client(headers, trusted) {
        Some(client) => direct(client),
        None => Origin { source: NetworkPrefix::of(proxy), network: None },
    }
}

/// The last address in the list that is no trusted proxy's: each proxy appends whom it got the request from, and what
/// is before that is whatever the client wrote.
fn client(headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let mut hops = 0;
    // Several lines are one list.
    for line in headers.get_all(FORWARDED_FOR).iter().rev() {
        for hop in line.to_str().ok()?.rsplit(',') {
            hops += 1;
            if hops > MAX_HOPS {
                return None;
            }
            let address = address(hop.trim_matches([' ', '\t']))?;
            if !is_trusted(address, trusted) {
                return Some(address);
            }
        }
    }
    None
}

/// `ADDRESS`, `IPV4:PORT` or `[IPV6]:PORT`.
fn address(hop: &str) -> Option<IpAddr> {
    hop.parse().ok().or_else(|| hop.parse().ok().map(|with_port: SocketAddr| with_port.ip()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio_tungstenite::tungstenite::http::HeaderValue;

    const PROXY: &str = "10.0.0.1";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn trusted() -> Vec<IpNet> {
        ["10.0.0.0/8", "2001:db8:ffff::/48"].map(|net| net.parse().unwrap()).to_vec()
    }

    fn through(lines: &[&[u8]]) -> Origin {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line).unwrap());
        }
        forwarded(ip(PROXY), &headers, &trusted())
    }

    #[test]
    fn the_last_address_that_is_no_proxy_is_the_client() {
        let client = direct(ip("192.0.2.7"));
        for lines in [
            &["192.0.2.7"][..],
            &["192.0.2.7:51234"],
            &["192.0.2.7, 10.1.2.3"],
            &["192.0.2.7,10.1.2.3:443 ,\t[2001:db8:ffff::1]:443"],
            &["::ffff:192.0.2.7"],
            // What the client wrote itself.
            &["198.51.100.1, 192.0.2.7"],
            &["10.9.9.9, 192.0.2.7"],
            &["not an address, , 192.0.2.7, 10.1.2.3"],
            // Several lines are one list.
            &["198.51.100.1", "192.0.2.7", "10.1.2.3, 10.1.2.4"],
            &["192.0.2.7", "::ffff:10.1.2.3"],
        ] {
            let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
            assert_eq!(through(&lines), client, "{lines:?}");
        }
        for line in ["2001:db8::7", "[2001:db8::7]:443", "198.51.100.1, 2001:db8::9, 10.0.0.2"] {
            assert_eq!(through(&[line.as_bytes()]), direct(ip("2001:db8::1")), "{line}: one /64 is one source");
        }
    }

    #[test]
    fn without_a_client_the_proxy_is_the_source_and_the_network_unknown() {
        let unknown = Origin { source: NetworkPrefix::of(ip(PROXY)), network: None };
        let long = vec!["10.0.0.2"; MAX_HOPS].join(",");
        let too_long = format!("192.0.2.7,{long}");
        for line in [
            "",
            ",",
            "unknown",
            "192.0.2.7,",
            "192.0.2.7, unknown",
            "192.0.2.7:99999",
            "192.0.2.7:",
            "[192.0.2.7]:1",
            "2001:db8::7%eth0",
            "[2001:db8::7]",
            "192.0.2.7 10.1.2.3",
            "10.1.2.3",
            &too_long,
        ] {
            assert_eq!(through(&[line.as_bytes()]), unknown, "{line}");
        }
        assert_eq!(through(&[]), unknown);
        assert_eq!(through(&[b"192.0.2.7, \xff"]), unknown);
        let lines = vec!["10.0.0.2".as_bytes(); MAX_HOPS];
        assert_eq!(through(&[&[b"192.0.2.7".as_slice()], lines.as_slice()].concat()), unknown);
        let half = ["10.0.0.2"; MAX_HOPS / 2].join(",");
        let rest = format!("192.0.2.7,{half}");
        assert_eq!(through(&[rest.as_bytes(), half.as_bytes()]), unknown, "all lines are one list");
        let far = format!("192.0.2.7,{}", vec!["10.0.0.2"; MAX_HOPS - 1].join(","));
        assert_eq!(through(&[far.as_bytes()]), direct(ip("192.0.2.7")));
    }

    #[test]
    fn whom_to_trust_is_written_as_networks() {
        for (peer, is) in [
            ("10.255.0.1", true),
            ("::ffff:10.255.0.1", true),
            ("2001:db8:ffff:1::1", true),
            ("11.0.0.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_trusted(ip(peer), &trusted()), is, "{peer}");
        }
        assert!(!is_trusted(ip(PROXY), &[]));
    }

    #[test]
    fn an_ipv4_network_may_be_written_as_ipv6() {
        let net = |text: &str| canonical(text.parse().unwrap());
        assert_eq!(net("::ffff:10.0.0.0/104"), net("10.0.0.0/8"));
        assert_eq!(net("::ffff:0:0/96"), net("0.0.0.0/0"));
        assert_eq!(net("2001:db8::/32").to_string(), "2001:db8::/32");
        for peer in ["10.0.0.1", "::ffff:10.0.0.1"] {
            assert!(is_trusted(ip(peer), &[net("::ffff:10.0.0.0/104")]), "{peer}");
        }
    }
}
