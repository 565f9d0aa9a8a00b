//! Where a relay is.

use handfast_protocol::pairing::qr::RelayHint;
use handfast_protocol::wire::limits::{DEFAULT_PORT, WEBSOCKET_PATH};
use std::fmt;
use std::str::FromStr;

/// The address of a relay: `ws://HOST[:PORT]` or `wss://HOST[:PORT]`, nothing more. Without a port, `ws` means 8474 and
/// `wss` 443.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RelayUrl {
    tls: bool,
    host: String,
    port: Option<u16>,
}

/// The text is not the address of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RelayUrlError {
    /// It does not begin with `ws://` or `wss://`.
    #[error("a relay address begins with ws:// or wss://, such as wss://relay.example.com")]
    Scheme,
    /// The host is missing or has characters that no host has.
    #[error("the relay address has no valid host: write it as ws://HOST or ws://HOST:PORT, without a path")]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("the port of the relay address is not a number from 1 to 65535")]
    Port,
}

impl RelayUrl {
    /// Whether the connection is protected by TLS. Secrecy of the content never depends on it.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The host: a name, an IPv4 address or an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port, given or implied.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.tls { 443 } else { DEFAULT_PORT })
    }

    /// This address as a hint in a QR code; `None` if it is too long for one.
    pub fn to_hint(&self) -> Option<RelayHint> {
        self.to_string().parse().ok()
    }

    /// The address that a QR code hints at. Use it only if the configuration or the person allows that relay.
    pub fn from_hint(hint: &RelayHint) -> Result<Self, RelayUrlError> {
        hint.to_string().parse()
    }

    /// What the websocket handshake names.
    pub(crate) fn request_uri(&self) -> String {
        format!("{}://{}{WEBSOCKET_PATH}", self.scheme(), self.authority_with_port())
    }

    fn scheme(&self) -> &'static str {
        if self.tls { "wss" } else { "ws" }
    }

    fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }

    fn authority_with_port(&self) -> String {
        format!("{}:{}", self.host, self.port())
    }

    fn from_parts(tls: bool, authority: &str) -> Result<Self, RelayUrlError> {
        let (host, port) = match authority.rsplit_once(':') {
            // A colon inside brackets belongs to the address.
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let port = match port {
            Some(port) if !port.starts_with(['0', '+']) => Some(port.parse().map_err(|_| RelayUrlError::Port)?),
            Some(_) => return Err(RelayUrlError::Port),
            None => None,
        };
        let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let valid = match inner {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-')),
        };
        if !valid {
            return Err(RelayUrlError::Host);
        }
        Ok(Self { tls, host: host.to_ascii_lowercase(), port })
    }
}

impl Default for RelayUrl {
    /// `ws://127.0.0.1:8474`, where a relay on the same machine listens.
    fn default() -> Self {
        Self { tls: false, host: "127.0.0.1".into(), port: Some(DEFAULT_PORT) }
    }
}

impl FromStr for RelayUrl {
    type Err = RelayUrlError;

    fn from_str(text: &str) -> Result<Self, RelayUrlError> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").ok_or(RelayUrlError::Scheme)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "ws" => false,
            "wss" => true,
            _ => return Err(RelayUrlError::Scheme),
        };
        Self::from_parts(tls, rest.strip_suffix('/').unwrap_or(rest))
    }
}

impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.authority())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_strictly_and_written_as_read() {
        for (text, host, port) in [
            ("ws://127.0.0.1:8474", "127.0.0.1", 8474),
            ("ws://relay", "relay", 8474),
            ("wss://relay.example.com", "relay.example.com", 443),
            ("wss://[::1]:9", "::1", 9),
            ("ws://[fe80::1]", "fe80::1", 8474),
        ] {
            let url: RelayUrl = text.parse().unwrap();
            assert_eq!((url.host(), url.port(), url.to_string().as_str()), (host, port, text));
        }
        assert_eq!("WS://Relay.Example/".parse::<RelayUrl>().unwrap().to_string(), "ws://relay.example");
    }

    #[test]
    fn anything_else_is_refused_by_its_part() {
        for (text, error) in [
            ("http://relay", RelayUrlError::Scheme),
            ("relay:8474", RelayUrlError::Scheme),
            ("ws://", RelayUrlError::Host),
            ("ws://user@relay", RelayUrlError::Host),
            ("ws://relay/path", RelayUrlError::Host),
            ("ws://re lay", RelayUrlError::Host),
            ("ws://[::1", RelayUrlError::Host),
            ("ws://[zz]", RelayUrlError::Host),
            ("ws://relay:0", RelayUrlError::Port),
            ("ws://relay:+1", RelayUrlError::Port),
            ("ws://relay:65536", RelayUrlError::Port),
            ("ws://relay:", RelayUrlError::Port),
        ] {
            assert_eq!(text.parse::<RelayUrl>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_hint_is_the_same_address() {
        for text in ["ws://192.168.100.200:8474", "wss://relay.example.com", "wss://[::1]:9"] {
            let url: RelayUrl = text.parse().unwrap();
            assert_eq!(RelayUrl::from_hint(&url.to_hint().unwrap()).unwrap(), url);
        }
        assert!("wss://a-relay-with-a-rather-long-name.example.com".parse::<RelayUrl>().unwrap().to_hint().is_none());
    }
}
