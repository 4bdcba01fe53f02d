//! A client: timeouts, certificates, proxies and redirects.

use std::time::Duration;

use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, RequestBuilder, http::Response, http::Uri};

use crate::Error;
use crate::address::{origin, parse, resolve};
use crate::proxy::Proxies;

/// Redirects followed for one request, as docker does.
const MAX_REDIRECTS: usize = 10;

/// Whom a client trusts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Servers that do not speak TLS may be asked, after a redirect too.
    pub plain_http: bool,
    /// Certificates in PEM, in place of the public ones.
    pub certificates: Option<&'a [u8]>,
    /// How long all of an answer may take to come; for ever, as long as something comes, if absent.
    pub body_timeout: Option<Duration>,
}

/// A client for HTTP.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    proxies: Proxies,
}

/// An answer, after all redirects. Whatever its status is, it is an answer.
#[derive(Debug)]
pub struct Answer {
    /// The answer.
    pub response: Response<Body>,
    /// It is of the server that was asked, which is the one that may be shown credentials.
    pub same_origin: bool,
}

impl Client {
    /// Makes a client with the proxies of `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`.
    ///
    /// # Errors
    /// If one of these holds no address of a proxy, or the options hold no certificate.
    pub fn new(options: Options<'_>) -> Result<Self, Error> {
        let mut tls = TlsConfig::builder();
        if let Some(pem) = options.certificates {
            let certificates = certificates(pem);
            if certificates.is_empty() {
                return Err(Error::NoCertificate);
            }
            tls = tls.root_certs(RootCerts::new_with_certs(&certificates));
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .https_only(!options.plain_http)
            .tls_config(tls.build())
            // Both depend on the address, and a redirect may lead to another one.
            .proxy(None)
            .max_redirects(0)
            .user_agent(concat!("terrarium/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_recv_body(options.body_timeout)
            .timeout_per_read(Some(Duration::from_secs(30)))
            .build();
        Ok(Self {
            agent: config.into(),
            proxies: Proxies::from_environment()?,
        })
    }

    /// Asks for `url` with a query and headers, following redirects. Only the server of `url` itself
    /// is shown the `authorization`.
    ///
    /// # Errors
    /// If there is no answer, or redirects lead to no usable address or to too many.
    pub fn get(
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
                    target = resolve(&target, location).ok_or_else(|| Error::Address {
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
        Err(Error::Address {
            url: url.to_owned(),
            reason: format!("it leads to more than {MAX_REDIRECTS} other addresses"),
        })
    }

    /// Posts a form; a redirect is the answer.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn post(&self, url: &str, form: &[(&str, &str)]) -> Result<Response<Body>, Error> {
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

fn transport(url: &Uri, source: ureq::Error) -> Error {
    Error::Transport {
        url: url.to_string(),
        source: Box::new(source),
    }
}

/// The certificates in a file in PEM form; none if there is nothing else in it.
fn certificates(pem: &[u8]) -> Vec<ureq::tls::Certificate<'static>> {
    parse_pem(pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect()
}
