//! The address of a shared store. It may hold a password, so it never prints one.

use std::fmt;
use std::str::FromStr;

/// Where a shared store is: `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`, or `rediss://` for TLS.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl(String);

impl FromStr for StoreUrl {
    type Err = &'static str;

    /// Refuses other schemes and an address without a host.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("redis://").or_else(|| text.strip_prefix("rediss://"));
        let rest = rest.ok_or("a store's address begins with redis:// or rediss://")?;
        let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
        if place.is_empty() || place.starts_with(['/', ':']) || place.contains(char::is_whitespace) {
            return Err("a store's address names a host: redis://HOST:PORT");
        }
        // What the client library would refuse when it is to connect.
        #[cfg(feature = "redis")]
        redis::IntoConnectionInfo::into_connection_info(text)
            .map_err(|_| "a store's address is redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]")?;
        Ok(Self(text.to_owned()))
    }
}

impl StoreUrl {
    /// The whole address with its password, for nothing but connecting to it.
    #[cfg(feature = "redis")]
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

/// Without user and password.
impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.split_once("://"), self.0.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, place))) => write!(f, "{scheme}://***@{place}"),
            _ => f.write_str(&self.0),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_printed() {
        let url: StoreUrl = "redis://ada:p@ss@10.0.0.1:6379/2".parse().unwrap();
        assert_eq!(format!("{url} {url:?}"), "redis://***@10.0.0.1:6379/2 redis://***@10.0.0.1:6379/2");
        assert_eq!("rediss://store:6380".parse::<StoreUrl>().unwrap().to_string(), "rediss://store:6380");
    }

    #[test]
    fn only_addresses_of_a_store_are_taken() {
        for text in
            ["", "redis", "http://store", "redis://", "redis://:6379", "redis:///0", "redis://a b", "redis://x@"]
        {
            assert!(text.parse::<StoreUrl>().is_err(), "{text}");
        }
    }

    #[test]
    #[cfg(feature = "redis")]
    fn a_port_or_database_that_cannot_be_is_refused_without_repeating_it() {
        for text in ["redis://store:99999", "redis://ada:SE#CRET@store", "redis://store:6379/SECRET"] {
            let why = text.parse::<StoreUrl>().unwrap_err();
            assert!(!why.contains("999") && !why.contains("CRET"), "{why}");
        }
    }
}
