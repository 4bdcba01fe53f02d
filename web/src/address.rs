//! Addresses: which are usable, who is behind them, and where a redirect leads.

use ureq::http::Uri;

use crate::Error;

/// Whether a host (with or without a port) is this machine: it needs no proxy, and registries there speak plain
/// HTTP.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost"
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Reads an address.
pub(crate) fn parse(url: &str) -> Result<Uri, Error> {
    url.parse()
        .ok()
        .filter(is_usable)
        .ok_or_else(|| Error::Address {
            url: url.to_owned(),
            reason: "it is not an http or https address".to_owned(),
        })
}

fn is_usable(url: &Uri) -> bool {
    matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some()
}

/// Scheme, host and port: who is shown what another one is not.
pub(crate) fn origin(url: &Uri) -> (Option<&str>, Option<String>, Option<u16>) {
    let scheme = url.scheme_str();
    let port = match scheme {
        Some("http") => 80,
        _ => 443,
    };
    let host = url.host().map(str::to_ascii_lowercase);
    (scheme, host, url.port_u16().or(Some(port)))
}

/// Where a `Location` header leads (RFC 3986, section 5.2; servers take dot segments out themselves).
pub(crate) fn resolve(base: &Uri, location: &str) -> Option<Uri> {
    let scheme = base.scheme_str()?;
    let authority = base.authority()?;
    let location = location.split('#').next().unwrap_or_default();
    let absolute = if location.contains("://") {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let folder = base
            .path()
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    absolute.parse().ok().filter(is_usable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_where_they_say() {
        let base: Uri = "https://a.test:5000/v2/x/blobs/1?q".parse().unwrap();
        for (location, expected) in [
            ("http://b.test/c?d=e#f", Some("http://b.test/c?d=e")),
            ("//b.test/c", Some("https://b.test/c")),
            ("/c", Some("https://a.test:5000/c")),
            ("2?e", Some("https://a.test:5000/v2/x/blobs/2?e")),
            (
                "/c?next=http%3A//b.test",
                Some("https://a.test:5000/c?next=http%3A//b.test"),
            ),
            ("ftp://b.test/c", None),
            ("http://", None),
        ] {
            let expected: Option<Uri> = expected.map(|url| url.parse().unwrap());
            assert_eq!(resolve(&base, location), expected, "{location}");
        }
    }

    #[test]
    fn another_port_or_scheme_is_another_origin() {
        let same = |a: &str, b: &str| {
            origin(&a.parse::<Uri>().unwrap()) == origin(&b.parse::<Uri>().unwrap())
        };
        assert!(same("https://a.test/b", "https://A.test:443/c"));
        assert!(!same("https://a.test", "http://a.test"));
        assert!(!same("https://a.test", "https://a.test:444"));
        assert!(!same("https://a.test", "https://b.a.test"));
    }

    #[test]
    fn tells_loopback() {
        for host in [
            "localhost",
            "localhost:5000",
            "127.0.0.1",
            "127.9.9.9:1",
            "[::1]:5",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "docker.io",
            "localhost.example",
            "10.0.0.1:5000",
            "[fe80::1]",
            "127.example",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
