//! A relay inside this process, for two devices without one.

use crate::exit::{Exit, Failed};
use handfast::RelayUrl;
use handfast_relay::{Config, Relay, RelayHandle};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// How long a run's last frames may take to reach the other device.
const DRAIN: Duration = Duration::from_secs(2);

/// A relay that runs as long as this value.
pub(crate) struct Served {
    handle: RelayHandle,
    /// Where both devices reach it.
    pub(crate) url: RelayUrl,
    /// Where else, if this machine has several addresses.
    pub(crate) others: Vec<RelayUrl>,
}

impl Served {
    /// Listens on `address`.
    pub(crate) async fn start(address: SocketAddr) -> Result<Self, Failed> {
        // This device comes from this machine, the other one from elsewhere: the hint would say "different" for nothing.
        let config = Config { network_hint: false, drain_time: DRAIN, ..Config::default() };
        let relay = Relay::bind(address, config).await.map_err(|error| {
            Failed::new(
                Exit::RelayUnreachable,
                format!("cannot serve a relay at {address}: {error}; choose another address or port"),
            )
        })?;
        let handle = relay.spawn();
        let mut urls = reachable_urls(handle.addr()).into_iter();
        let url = urls.next().ok_or_else(|| Failed::internal("this machine has no address"))?;
        Ok(Self { url, others: urls.collect(), handle })
    }

    /// Lets what is under way finish, for a short time.
    pub(crate) async fn stop(self) {
        self.handle.shutdown().await;
    }
}

/// Where another machine may reach a relay that listens at `address`, the likeliest first.
pub(crate) fn reachable_urls(address: SocketAddr) -> Vec<RelayUrl> {
    let url = |ip| format!("ws://{}", SocketAddr::new(ip, address.port())).parse().ok();
    reachable(address.ip()).into_iter().filter_map(url).collect()
}

/// The addresses at which another machine may reach a socket bound to `ip`, the likeliest first.
fn reachable(ip: IpAddr) -> Vec<IpAddr> {
    if !ip.is_unspecified() {
        return vec![ip];
    }
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let found = interfaces
        .iter()
        .filter(|interface| !interface.is_loopback())
        .map(|interface| (interface.name.as_str(), interface.ip()));
    let mut addresses: Vec<_> = found.filter(|(_, found)| ip.is_ipv6() || found.is_ipv4()).collect();
    addresses.sort_by_key(|(name, address)| rank(name, address));
    addresses.dedup_by_key(|(_, address)| *address);
    let mut addresses: Vec<_> =
        addresses.into_iter().filter(|(_, address)| !is_link_local(address)).map(|(_, address)| address).collect();
    if addresses.is_empty() {
        // Without a network, both devices are on this machine.
        addresses.push(if ip.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    addresses
}

/// Real networks before those of containers and virtual machines, IPv4 before IPv6, private before public.
fn rank(interface: &str, address: &IpAddr) -> (bool, bool, bool) {
    let virtual_prefixes =
        ["docker", "br-", "veth", "virbr", "cni", "podman", "vmnet", "vbox", "tun", "wg", "tailscale"];
    let is_virtual = virtual_prefixes.iter().any(|prefix| interface.starts_with(prefix));
    let is_public = match address {
        IpAddr::V4(v4) => !v4.is_private(),
        IpAddr::V6(v6) => !v6.is_unique_local(),
    };
    (is_virtual, address.is_ipv6(), is_public)
}

/// Such an address needs a scope, which a relay address cannot carry.
fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_was_named_is_the_one_to_tell() {
        let ip = "192.0.2.7".parse().unwrap();
        assert_eq!(reachable(ip), [ip]);
    }

    #[test]
    fn every_address_of_the_machine_becomes_one_that_can_be_told() {
        let told = reachable(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        assert!(!told.is_empty());
        assert!(told.iter().all(|ip| ip.is_ipv4() && !ip.is_unspecified()));
    }

    #[test]
    fn real_private_networks_come_first() {
        let mut found =
            [("docker0", "172.17.0.1"), ("eth0", "203.0.113.5"), ("wlan0", "192.168.1.20"), ("wlan0", "fd00::1")];
        found.sort_by_key(|(name, address)| rank(name, &address.parse().unwrap()));
        assert_eq!(found.map(|(_, address)| address), ["192.168.1.20", "203.0.113.5", "fd00::1", "172.17.0.1"]);
    }
}
