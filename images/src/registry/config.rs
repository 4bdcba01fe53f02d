//! What the user says about registries: mirrors, plain HTTP, certificates.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{Error, json_file};

/// Settings of registries, by the domain that stands in references.
///
/// ```json
/// {"docker.io": {"mirrors": ["mirror.example:5000"]},
///  "mirror.example:5000": {"plainHttp": true},
///  "registry.example": {"caFile": "/etc/ssl/example.pem"}}
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct RegistryConfig(BTreeMap<String, RegistrySettings>);

/// Settings of one registry.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct RegistrySettings {
    /// Hosts that are asked first, in order.
    pub(crate) mirrors: Vec<String>,
    /// Speak HTTP. If absent, registries on this machine without certificates to trust do.
    pub(crate) plain_http: Option<bool>,
    /// Certificates to trust, in PEM form, instead of the public ones.
    pub(crate) ca_file: Option<PathBuf>,
}

impl RegistryConfig {
    /// Reads a file of settings; one that does not exist is empty.
    ///
    /// # Errors
    /// If the file cannot be read or is malformed.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Ok(json_file::read(path)?.unwrap_or_default())
    }

    pub(crate) fn settings(&self, domain: &str) -> RegistrySettings {
        self.0.get(domain).cloned().unwrap_or_default()
    }
}
