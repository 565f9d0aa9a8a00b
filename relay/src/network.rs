//! The relay's one hint about the two devices: whether they reach it from the same network.

use handfast_wire::Network;
use std::net::IpAddr;

/// The part of an address that one household or office shares.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) enum NetworkPrefix {
    /// A whole IPv4 address: many devices behind one translator.
    V4([u8; 4]),
    /// The first 64 bits of an IPv6 address.
    V6([u8; 8]),
}

impl NetworkPrefix {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.octets()),
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h, ..] = v6.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// The hint about two devices; unknown if the relay keeps no prefix of one of them.
pub(crate) fn hint(one: Option<NetworkPrefix>, other: Option<NetworkPrefix>) -> Network {
    match (one, other) {
        (Some(one), Some(other)) if one == other => Network::Same,
        (Some(_), Some(_)) => Network::Different,
        _ => Network::Unknown,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn between(one: &str, other: &str) -> Network {
        let prefix = |text: &str| Some(NetworkPrefix::of(text.parse().unwrap()));
        hint(prefix(one), prefix(other))
    }

    #[test]
    fn same_means_equal_ipv4_address_or_equal_ipv6_64() {
        assert_eq!(between("192.0.2.1", "192.0.2.1"), Network::Same);
        assert_eq!(between("192.0.2.1", "192.0.2.2"), Network::Different);
        assert_eq!(between("::ffff:192.0.2.1", "192.0.2.1"), Network::Same);
        assert_eq!(between("::ffff:192.0.2.1", "::ffff:192.0.2.2"), Network::Different);
        assert_eq!(between("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"), Network::Same);
        assert_eq!(between("2001:db8:1:2::1", "2001:db8:1:3::1"), Network::Different);
        assert_eq!(between("2001:db8::1", "192.0.2.1"), Network::Different);
    }

    #[test]
    fn nothing_is_said_about_an_address_that_is_not_kept() {
        assert_eq!(hint(None, Some(NetworkPrefix::V4([192, 0, 2, 1]))), Network::Unknown);
        assert_eq!(hint(None, None), Network::Unknown);
    }
}
