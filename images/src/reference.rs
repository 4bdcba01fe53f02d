//! Image references, parsed and printed as docker does.
//!
//! The grammar is that of the distribution project's `reference` package:
//! `[DOMAIN[:PORT]/]PATH[:TAG][@DIGEST]`.

use std::{fmt, str::FromStr};

use crate::{Digest, Error};

const DEFAULT_DOMAIN: &str = "docker.io";
const OFFICIAL: &str = "library/";
const DEFAULT_TAG: &str = "latest";

/// The longest repository path, in bytes (the distribution specification's limit).
const MAX_PATH: usize = 255;
/// The longest domain: a host name and a port, in bytes.
const MAX_DOMAIN: usize = 253 + 6;

/// Names an image in a registry.
///
/// [`Display`](fmt::Display) prints the short form that docker shows (`python:2.7`);
/// [`canonical`](Self::canonical) the full one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The registry's host, with its port if it has one, such as `docker.io` or `localhost:5000`.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within the registry, such as `library/python`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag as written; `None` if there was none.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the manifest or index.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The tag to ask for: the one written, else `latest` unless a digest decides.
    #[must_use]
    pub fn tag_or_latest(&self) -> Option<&str> {
        match (&self.tag, self.digest) {
            (Some(tag), _) => Some(tag),
            (None, Some(_)) => None,
            (None, None) => Some(DEFAULT_TAG),
        }
    }

    /// The full form, with domain and tag: `docker.io/library/python:latest`.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut text = format!("{}/{}", self.domain, self.path);
        self.append_version(&mut text, self.tag_or_latest());
        text
    }

    /// The same repository at another digest, without a tag.
    #[must_use]
    pub fn at_digest(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    fn append_version(&self, text: &mut String, tag: Option<&str>) {
        if let Some(tag) = tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
    }

    /// The name without what docker.io implies, where that still means the same image when parsed.
    fn familiar_name(&self) -> String {
        if self.domain == DEFAULT_DOMAIN {
            let short = match self.path.strip_prefix(OFFICIAL) {
                Some(rest) if !rest.contains('/') => rest,
                _ => &self.path,
            };
            if split_domain(short) == (DEFAULT_DOMAIN, self.path.clone()) {
                return short.to_owned();
            }
        }
        format!("{}/{}", self.domain, self.path)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.familiar_name();
        self.append_version(&mut text, self.tag());
        f.pad(&text)
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).map_err(|reason| Error::InvalidReference {
            text: text.chars().take(300).collect(),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => {
            let digest = digest
                .parse()
                .map_err(|_| "after @ comes sha256: and 64 lower-case hexadecimal digits")?;
            (rest, Some(digest))
        }
        None => (text, None),
    };
    // A colon after the last slash starts the tag; one before it, a port.
    let name_end = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[name_end..].find(':') {
        Some(colon) => {
            let (name, tag) = rest.split_at(name_end + colon);
            (name, Some(&tag[1..]))
        }
        None => (rest, None),
    };
    if let Some(tag) = tag {
        check_tag(tag)?;
    }
    if is_bare_identifier(name) {
        return Err("64 hexadecimal digits name an image, not a repository");
    }
    let (domain, path) = split_domain(name);
    check_domain(domain)?;
    check_path(&path)?;
    Ok(Reference {
        domain: domain.to_owned(),
        path,
        tag: tag.map(str::to_owned),
        digest,
    })
}

/// Tells the registry from the repository: what stands before the first slash is a domain if it has a
/// dot, a colon or a capital letter, or is `localhost`.
fn split_domain(name: &str) -> (&str, String) {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, name),
    };
    let domain = if domain == "index.docker.io" {
        DEFAULT_DOMAIN
    } else {
        domain
    };
    if domain == DEFAULT_DOMAIN && !path.contains('/') {
        (domain, format!("{OFFICIAL}{path}"))
    } else {
        (domain, path.to_owned())
    }
}

fn is_bare_identifier(name: &str) -> bool {
    name.len() == 64
        && name
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn check_tag(tag: &str) -> Result<(), &'static str> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let valid = tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag
            .bytes()
            .all(|byte| word(byte) || matches!(byte, b'.' | b'-'));
    if valid {
        Ok(())
    } else {
        Err("a tag is 1 to 128 letters, digits, _ . or -, and starts with none of the last two")
    }
}

fn check_domain(domain: &str) -> Result<(), &'static str> {
    const REASON: &str = "the registry is HOST or HOST:PORT";
    if domain.len() > MAX_DOMAIN {
        return Err(REASON);
    }
    let (host, port) = if let Some(rest) = domain.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or(REASON)?;
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return Err("the registry's IPv6 address is malformed");
        }
        (
            None,
            rest.strip_prefix(':').or((!rest.is_empty()).then_some("x")),
        )
    } else {
        match domain.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(domain), None),
        }
    };
    let label = |label: &str| {
        !label.starts_with('-')
            && !label.ends_with('-')
            && !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let host_valid = host.is_none_or(|host| host.split('.').all(label));
    let port_valid = port.is_none_or(|port| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
    });
    if host_valid && port_valid {
        Ok(())
    } else {
        Err(REASON)
    }
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if path.len() > MAX_PATH {
        return Err("the repository name is longer than 255 bytes");
    }
    if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("the repository name must be lower case");
    }
    if path.split('/').all(is_path_component) {
        Ok(())
    } else {
        Err(
            "a repository name is made of lower-case letters and digits, joined by one of . _ __ - or /",
        )
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let separators = component
        .split(|c: char| u8::try_from(c).is_ok_and(alphanumeric))
        .filter(|separator| !separator.is_empty());
    let valid_separator =
        |s: &str| matches!(s, "." | "_" | "__") || s.bytes().all(|byte| byte == b'-');
    component.bytes().next().is_some_and(alphanumeric)
        && component.bytes().next_back().is_some_and(alphanumeric)
        && separators.into_iter().all(valid_separator)
}

#[cfg(test)]
mod tests;
