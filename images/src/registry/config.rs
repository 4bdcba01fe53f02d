//! What the user says about registries: mirrors, plain HTTP, certificates.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{Error, error::FileContext};

/// The longest file taken, in bytes.
const MAX_LENGTH: u64 = 1 << 20;

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
    /// Speak HTTP, as with registries on this machine.
    pub(crate) plain_http: bool,
    /// Certificates to trust, in PEM form, instead of the public ones.
    pub(crate) ca_file: Option<PathBuf>,
}

impl RegistryConfig {
    /// Reads a file of settings; one that does not exist is empty.
    ///
    /// # Errors
    /// If the file cannot be read or is malformed.
    pub fn read(path: &Path) -> Result<Self, Error> {
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            metadata => {
                if metadata.context("open", path)?.len() > MAX_LENGTH {
                    return Err(Error::Document {
                        what: path.display().to_string(),
                        reason: format!("it is larger than {MAX_LENGTH} bytes"),
                    });
                }
            }
        }
        let bytes = fs::read(path).context("read", path)?;
        serde_json::from_slice(&bytes).map_err(|source| Error::Json {
            what: path.display().to_string(),
            source,
        })
    }

    pub(crate) fn settings(&self, domain: &str) -> RegistrySettings {
        self.0.get(domain).cloned().unwrap_or_default()
    }
}
