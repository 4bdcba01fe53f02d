//! A client for registries that speak the OCI distribution specification (docker's Registry v2).

mod auth;
mod config;
mod credentials;
mod request;
mod retry;
mod steady;

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use ureq::http::Response;
use web::{Client, is_loopback};

use self::auth::Authorizer;
pub use self::config::RegistryConfig;
use crate::{
    Error, Progress, Reference,
    error::FileContext,
    manifest::{
        DOCKER_LIST, DOCKER_MANIFEST, Descriptor, MAX_CONFIG, MAX_MANIFEST, OCI_INDEX, OCI_MANIFEST,
    },
    store::{check_digest, check_size},
};

/// Where docker.io's registry really is.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// One repository of a registry, or of a mirror of it.
pub(crate) struct Repository<'a> {
    client: Client,
    progress: &'a dyn Progress,
    /// Scheme and host.
    base: String,
    reference: &'a Reference,
    authorizer: Authorizer,
}

/// A manifest or index as it came.
pub(crate) struct ManifestAnswer {
    pub(crate) media_type: String,
    pub(crate) bytes: Vec<u8>,
}

/// A blob that streams in.
pub(crate) struct BlobAnswer {
    /// It goes on from the offset asked for; else it begins at its beginning.
    pub(crate) continues: bool,
    pub(crate) body: Box<dyn Read>,
    url: String,
}

impl BlobAnswer {
    /// The error for a body that broke off.
    pub(crate) fn broken(&self, error: std::io::Error) -> Error {
        broken(&self.url, error)
    }
}

/// Where a repository can be fetched from: the registry itself, and its mirrors, which come first.
pub(crate) fn repositories<'a>(
    reference: &'a Reference,
    config: &RegistryConfig,
    docker_config: Option<&PathBuf>,
    progress: &'a dyn Progress,
) -> Result<(Repository<'a>, Vec<Repository<'a>>), Error> {
    let repository = |host: &str| {
        let settings = config.settings(host);
        let plain_http = settings
            .plain_http
            .unwrap_or_else(|| is_loopback(host) && settings.ca_file.is_none());
        let scheme = if plain_http { "http" } else { "https" };
        let address = match host {
            "docker.io" => DOCKER_HUB,
            host => host,
        };
        Ok(Repository {
            client: client(plain_http, settings.ca_file.as_deref())?,
            progress,
            base: format!("{scheme}://{address}"),
            reference,
            authorizer: Authorizer::new(reference, host, docker_config),
        })
    };
    let mirrors = config.settings(reference.domain()).mirrors;
    let mirrors: Result<_, Error> = mirrors.iter().map(|host| repository(host)).collect();
    Ok((repository(reference.domain())?, mirrors?))
}

fn client(plain_http: bool, ca_file: Option<&Path>) -> Result<Client, Error> {
    let certificates = ca_file
        .map(|path| fs::read(path).context("read", path))
        .transpose()?;
    let options = web::Options {
        plain_http,
        certificates: certificates.as_deref(),
        body_timeout: None,
    };
    Client::new(options).map_err(|error| match (error, ca_file) {
        (web::Error::NoCertificate, Some(path)) => Error::Document {
            what: path.display().to_string(),
            reason: "it holds no certificate in PEM form".to_owned(),
        },
        (error, _) => error.into(),
    })
}

impl<'a> Repository<'a> {
    /// Who hears what happens.
    pub(crate) fn progress(&self) -> &'a dyn Progress {
        self.progress
    }

    /// Fetches the manifest or index of a tag or digest. Its content is not checked.
    pub(crate) fn manifest(&self, version: &str) -> Result<ManifestAnswer, Error> {
        let url = self.url("manifests", version);
        let accept = [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST].join(", ");
        self.with_retries(|| {
            let response = self.get(&url, &[("accept", &accept)])?;
            let media_type = response
                .headers()
                .get("content-type")
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default();
            // Parameters such as a character set mean nothing here.
            let media_type = media_type
                .split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned();
            let bytes = read_limited(response, &url, MAX_MANIFEST)?;
            Ok(ManifestAnswer { media_type, bytes })
        })
    }

    /// Fetches a small blob and checks it.
    pub(crate) fn blob_bytes(&self, blob: &Descriptor) -> Result<Vec<u8>, Error> {
        let url = self.url("blobs", &blob.digest.to_string());
        let limit = blob.size.min(MAX_CONFIG);
        let bytes = self.with_retries(|| read_beyond(self.get(&url, &[])?, &url, limit))?;
        let what = || format!("blob {} of {}", blob.digest, self.reference);
        check_size(what, blob.size, bytes.len() as u64)?;
        check_digest(what, blob.digest, crate::Digest::of(&bytes))?;
        Ok(bytes)
    }

    /// Begins to fetch a blob at `offset`.
    pub(crate) fn blob(&self, blob: &Descriptor, offset: u64) -> Result<BlobAnswer, Error> {
        let url = self.url("blobs", &blob.digest.to_string());
        let range = format!("bytes={offset}-");
        let headers: &[(&str, &str)] = if offset > 0 {
            &[("range", &range)]
        } else {
            &[]
        };
        let response = self.get(&url, headers)?;
        Ok(BlobAnswer {
            continues: request::continues_at(&response, offset),
            body: Box::new(steady::body(response)),
            url,
        })
    }

    fn url(&self, kind: &str, version: &str) -> String {
        format!(
            "{}/v2/{}/{kind}/{version}",
            self.base,
            self.reference.path()
        )
    }
}

/// Reads a document of at most `limit` bytes.
fn read_limited(response: Response<ureq::Body>, url: &str, limit: u64) -> Result<Vec<u8>, Error> {
    let bytes = read_beyond(response, url, limit)?;
    if bytes.len() as u64 > limit {
        return Err(Error::BadAnswer {
            url: url.to_owned(),
            reason: format!("it is longer than {limit} bytes"),
        });
    }
    Ok(bytes)
}

/// Reads a document up to a byte more than `limit`, by which one that is longer can be told.
fn read_beyond(response: Response<ureq::Body>, url: &str, limit: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    steady::body(response)
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| broken(url, error))?;
    Ok(bytes)
}

/// The error for a body that broke off.
fn broken(url: &str, error: std::io::Error) -> Error {
    Error::Transport {
        url: url.to_owned(),
        source: Box::new(ureq::Error::from(error)),
    }
}
