//! One registry's HTTP client: timeouts, certificates, proxies and redirects.

use std::{fs, path::Path, time::Duration};

use ureq::{
    Agent, Body, RequestBuilder,
    http::{Response, Uri},
    tls::{PemItem, RootCerts, TlsConfig, parse_pem},
};

use super::proxy::Proxies;
use crate::{Error, error::FileContext};

/// Redirects followed for one request, as docker does.
const MAX_REDIRECTS: usize = 10;

pub(super) struct Client {
    agent: Agent,
    proxies: Proxies,
}

/// An answer, after all redirects.
pub(super) struct Answer {
    pub(super) response: Response<Body>,
    /// It is on the server that was asked, which is the one that may be shown credentials.
    pub(super) same_origin: bool,
}

impl Client {
    /// `ca_file` replaces the public certificates. Without `plain_http`, nothing is asked of a server
    /// that does not speak TLS, not even after a redirect.
    pub(super) fn new(plain_http: bool, ca_file: Option<&Path>) -> Result<Self, Error> {
        let mut tls = TlsConfig::builder();
        if let Some(path) = ca_file {
            tls = tls.root_certs(certificates(path)?);
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .https_only(!plain_http)
            .tls_config(tls.build())
            // Both depend on the address, and a redirect may lead to another one.
            .proxy(None)
            .max_redirects(0)
            .user_agent(concat!("terrarium/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(30)))
            .build();
        Ok(Self {
            agent: config.into(),
            proxies: Proxies::from_environment()?,
        })
    }

    /// Asks for `url` with a query and headers, following redirects. Only the server of `url` itself
    /// is shown the `authorization`.
    pub(super) fn get(
        &self,
        url: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        authorization: Option<&str>,
    ) -> Result<Answer, Error> {
        let asked = parse(url)?;
        let mut target = asked.clone();
        for hop in 0..=MAX_REDIRECTS {
            let same_origin = origin(&target) == origin(&asked);
            let mut request = self.agent.get(&target);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if hop == 0 {
                request = request.query_pairs(query.iter().copied());
            }
            if let Some(authorization) = authorization.filter(|_| same_origin) {
                request = request.header("authorization", authorization);
            }
            let sent = self.through_proxy(request, &target).call();
            let response = sent.map_err(|source| transport(&target, source))?;
            let location = response.headers().get("location");
            match (response.status().as_u16(), location) {
                (301 | 302 | 303 | 307 | 308, Some(location)) => {
                    let location = location.to_str().unwrap_or_default();
                    target = resolve(&target, location).ok_or_else(|| Error::BadAnswer {
                        url: target.to_string(),
                        reason: "it leads to no usable address".to_owned(),
                    })?;
                }
                _ => {
                    return Ok(Answer {
                        response,
                        same_origin,
                    });
                }
            }
        }
        Err(Error::BadAnswer {
            url: url.to_owned(),
            reason: format!("it leads to more than {MAX_REDIRECTS} other addresses"),
        })
    }

    /// Posts a form; a redirect is the answer.
    pub(super) fn post(&self, url: &str, form: &[(&str, &str)]) -> Result<Response<Body>, Error> {
        let target = parse(url)?;
        self.through_proxy(self.agent.post(&target), &target)
            .send_form(form.iter().copied())
            .map_err(|source| transport(&target, source))
    }

    fn through_proxy<T>(&self, request: RequestBuilder<T>, target: &Uri) -> RequestBuilder<T> {
        let proxy = self.proxies.of(target).cloned();
        request.config().proxy(proxy).build()
    }
}

fn certificates(path: &Path) -> Result<RootCerts, Error> {
    let pem = fs::read(path).context("read", path)?;
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(Error::Document {
            what: path.display().to_string(),
            reason: "it holds no certificate in PEM form".to_owned(),
        });
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

/// Reads an address, which a registry may have given for its token service.
fn parse(url: &str) -> Result<Uri, Error> {
    url.parse()
        .ok()
        .filter(is_usable)
        .ok_or_else(|| Error::BadAnswer {
            url: url.to_owned(),
            reason: "it is not an http or https address".to_owned(),
        })
}

fn is_usable(url: &Uri) -> bool {
    matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some()
}

fn transport(url: &Uri, source: ureq::Error) -> Error {
    Error::Transport {
        url: url.to_string(),
        source: Box::new(source),
    }
}

/// Scheme, host and port: who is shown what another one is not.
fn origin(url: &Uri) -> (Option<&str>, Option<String>, Option<u16>) {
    let scheme = url.scheme_str();
    let port = match scheme {
        Some("http") => 80,
        _ => 443,
    };
    let host = url.host().map(str::to_ascii_lowercase);
    (scheme, host, url.port_u16().or(Some(port)))
}

/// Where a `Location` header leads (RFC 3986, section 5.2; servers take dot segments out themselves).
fn resolve(base: &Uri, location: &str) -> Option<Uri> {
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
}
