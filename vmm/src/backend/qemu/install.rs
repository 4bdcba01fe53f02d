//! Finding QEMU on this host.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fmt, io};

/// The oldest QEMU whose `microvm` has what is used here.
pub const MINIMUM_VERSION: Version = Version { major: 6, minor: 2 };

/// A version of QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Why there is no QEMU to use.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// None in `PATH`.
    #[error("{0} is not installed")]
    Missing(&'static str),
    /// It cannot be asked for its version.
    #[error("{path} does not run")]
    DoesNotRun {
        /// The program.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It said something else than a version.
    #[error("{0} does not tell its version")]
    UnknownVersion(PathBuf),
    /// Too old.
    #[error("{path} is version {found}, older than {MINIMUM_VERSION}")]
    TooOld {
        /// The program.
        path: PathBuf,
        /// Its version.
        found: Version,
    },
}

pub(super) fn find(name: &'static str) -> Result<PathBuf, QemuError> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or(QemuError::Missing(name))
}

pub(super) fn version(binary: &Path) -> Result<Version, QemuError> {
    let output = Command::new(binary)
        .arg("--version")
        .output()
        .map_err(|source| QemuError::DoesNotRun {
            path: binary.to_owned(),
            source,
        })?;
    let found = parse_version(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| QemuError::UnknownVersion(binary.to_owned()))?;
    if found < MINIMUM_VERSION {
        return Err(QemuError::TooOld {
            path: binary.to_owned(),
            found,
        });
    }
    Ok(found)
}

/// The version in `QEMU emulator version 7.2.22 (Debian …)`.
fn parse_version(output: &str) -> Option<Version> {
    let number = output.split_once("version ")?.1;
    let mut parts = number.split(|c: char| !c.is_ascii_digit());
    Some(Version {
        major: parts.next()?.parse().ok()?,
        minor: parts.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions() {
        let version = |major, minor| Some(Version { major, minor });
        let debian = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright";
        assert_eq!(parse_version(debian), version(7, 2));
        let plain = "QEMU emulator version 10.0.2";
        assert_eq!(parse_version(plain), version(10, 0));
        assert_eq!(parse_version("no such option"), None);
        assert!(version(6, 1) < Some(MINIMUM_VERSION) && version(10, 0) > Some(MINIMUM_VERSION));
    }
}
