//! Which proxy a request goes through: the variables `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, read
//! as docker and other programs in Go read them, and `ALL_PROXY`, as curl does.

use std::{env, net::IpAddr};

use ureq::{Proxy, ProxyProtocol, http::Uri};

use crate::{Error, is_loopback};

#[derive(Debug, Default)]
pub(crate) struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exceptions: Vec<Exception>,
}

/// An entry of `NO_PROXY`: some hosts, and one port of them or all.
#[derive(Debug)]
struct Exception {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Debug)]
enum Hosts {
    All,
    /// The addresses whose first so many bits are these.
    Addresses(IpAddr, u32),
    /// The domain itself, unless only what is below it is meant, and what is below it.
    Domain {
        name: String,
        itself: bool,
    },
}

impl Proxies {
    /// # Errors
    /// If a variable holds no address of a proxy; its value is not told, for it may hold a password.
    pub(crate) fn from_environment() -> Result<Self, Error> {
        Self::read(|name| env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let value = |name: &str| {
            [name.to_owned(), name.to_ascii_lowercase()]
                .into_iter()
                .find_map(|name| variable(&name).filter(|value| !value.is_empty()))
        };
        let proxy = |names: [&'static str; 2]| {
            let found = names.iter().find_map(|name| Some((name, value(name)?)));
            let Some((name, text)) = found else {
                return Ok(None);
            };
            let proxy = Proxy::new(&text).ok().filter(|proxy| {
                matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https)
            });
            proxy.map(Some).ok_or(Error::Proxy(name))
        };
        let exceptions = value("NO_PROXY").unwrap_or_default();
        Ok(Self {
            http: proxy(["HTTP_PROXY", "ALL_PROXY"])?,
            https: proxy(["HTTPS_PROXY", "ALL_PROXY"])?,
            exceptions: exceptions
                .split(',')
                .map(str::trim)
                .filter(|entry| !entry.is_empty())
                .map(Exception::parse)
                .collect(),
        })
    }

    /// The proxy for `url`. This machine's own addresses need none.
    pub(crate) fn of(&self, url: &Uri) -> Option<&Proxy> {
        let (proxy, default_port) = match url.scheme_str() {
            Some("http") => (self.http.as_ref()?, 80),
            _ => (self.https.as_ref()?, 443),
        };
        let authority = url.host()?;
        let host = authority.trim_matches(['[', ']']).to_ascii_lowercase();
        let port = url.port_u16().unwrap_or(default_port);
        let direct = is_loopback(authority)
            || self
                .exceptions
                .iter()
                .any(|exception| exception.covers(&host, port));
        (!direct).then_some(proxy)
    }
}

impl Exception {
    fn parse(entry: &str) -> Self {
        let (host, port) = match entry.rsplit_once(':') {
            // More than one colon is an IPv6 address, which has a port only after brackets.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                match port.parse() {
                    Ok(port) => (host, Some(port)),
                    Err(_) => (entry, None),
                }
            }
            _ => (entry, None),
        };
        let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
        let hosts = if host == "*" {
            Hosts::All
        } else if let Some(network) = network(&host) {
            network
        } else {
            let below = host.strip_prefix("*.").or(host.strip_prefix('.'));
            Hosts::Domain {
                name: below.unwrap_or(&host).to_owned(),
                itself: below.is_none(),
            }
        };
        Self { hosts, port }
    }

    fn covers(&self, host: &str, port: u16) -> bool {
        let covered = match &self.hosts {
            Hosts::All => true,
            Hosts::Addresses(first, bits) => host
                .parse()
                .is_ok_and(|address| shares_bits(*first, address, *bits)),
            Hosts::Domain { name, itself } => match host.strip_suffix(name.as_str()) {
                Some("") => *itself,
                Some(rest) => rest.ends_with('.'),
                None => false,
            },
        };
        covered && self.port.is_none_or(|only| only == port)
    }
}

/// Reads `ADDRESS` or `ADDRESS/BITS`.
fn network(text: &str) -> Option<Hosts> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let all = if address.is_ipv4() { 32 } else { 128 };
    Some(Hosts::Addresses(address, bits.unwrap_or(all).min(all)))
}

fn shares_bits(a: IpAddr, b: IpAddr, bits: u32) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= bits,
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= bits,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Result<Proxies, Error> {
        Proxies::read(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn host(proxies: &Proxies, url: &str) -> Option<String> {
        let proxy = proxies.of(&url.parse().unwrap());
        proxy.map(|proxy| proxy.host().to_owned())
    }

    #[test]
    fn each_scheme_has_its_own() {
        let found = proxies(&[
            ("HTTP_PROXY", "http://one.test:1"),
            ("https_proxy", "two.test:2"),
        ])
        .unwrap();
        assert_eq!(host(&found, "http://x.test").unwrap(), "one.test");
        assert_eq!(host(&found, "https://x.test").unwrap(), "two.test");
        let found = proxies(&[
            ("HTTP_PROXY", "http://one.test:1"),
            ("all_proxy", "http://three.test"),
        ])
        .unwrap();
        assert_eq!(host(&found, "http://x.test").unwrap(), "one.test");
        assert_eq!(host(&found, "https://x.test").unwrap(), "three.test");
        let found = proxies(&[("HTTP_PROXY", "one.test:1"), ("HTTPS_PROXY", "")]).unwrap();
        assert_eq!(host(&found, "https://x.test"), None);
    }

    #[test]
    fn exceptions_are_those_of_docker() {
        let found = proxies(&[
            ("HTTPS_PROXY", "http://proxy.test:1"),
            (
                "NO_PROXY",
                "a.test, .b.test,*.c.test, d.test:5000,10.1.0.0/16,192.0.2.1,[2001:db8::1]:443,2001:db8:1::/48",
            ),
        ])
        .unwrap();
        for direct in [
            "a.test",
            "A.test",
            "x.a.test",
            "x.b.test",
            "x.c.test",
            "d.test:5000",
            "10.1.2.3",
            "192.0.2.1:5000",
            "[2001:db8::1]",
            "[2001:db8:1::2]:1",
            "localhost",
            "127.0.0.1:5000",
            "[::1]:5000",
        ] {
            assert_eq!(
                host(&found, &format!("https://{direct}/v2/")),
                None,
                "{direct}"
            );
        }
        for proxied in [
            "xa.test",
            "a.test.example",
            "b.test",
            "c.test",
            "d.test",
            "10.2.0.1",
            "192.0.2.2",
            "[2001:db8::1]:444",
            "[2001:db8:2::]",
        ] {
            let url = format!("https://{proxied}/v2/");
            assert_eq!(
                host(&found, &url).as_deref(),
                Some("proxy.test"),
                "{proxied}"
            );
        }
        let all = proxies(&[("ALL_PROXY", "proxy.test"), ("no_proxy", "*")]).unwrap();
        assert_eq!(host(&all, "https://x.test"), None);
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_its_password() {
        for wrong in [
            "http://me:secret@",
            "socks5://me:secret@proxy.test",
            "http://me:secret@a b",
        ] {
            let message = proxies(&[("ALL_PROXY", wrong)]).unwrap_err().to_string();
            assert!(
                message.contains("ALL_PROXY") && !message.contains("secret"),
                "{message}"
            );
        }
    }
}
