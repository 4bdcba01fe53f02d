//! Alpine's package repositories: where the default kernel comes from.
//!
//! A repository is trusted for nothing. Its index is signed with one of Alpine's keys, which are kept
//! in this crate, and names the hash of every package.

mod fetch;
mod index;
mod keys;
mod seen;

use std::path::Path;

pub(crate) use index::Package;
pub(crate) use seen::Seen;

use crate::alpine::keys::Keys;
use crate::{Arch, Error, FormatError};

/// The mirror that serves every region.
const MIRROR: &str = "https://dl-cdn.alpinelinux.org/alpine";

/// The newest stable branch.
const BRANCH: &str = "v3.24";

/// The package with the kernel for virtual machines.
const KERNEL_PACKAGE: &str = "linux-virt";

/// The largest index accepted, in bytes: today's have a twentieth of it.
const MAX_INDEX: u64 = 16 << 20;

/// The largest package accepted, in bytes: that of today's kernel has a tenth of it.
const MAX_PACKAGE: u64 = 512 << 20;

/// A branch of Alpine on one of its mirrors.
#[derive(Clone, Debug)]
pub struct Repository {
    mirror: String,
    branch: String,
    keys: Keys,
}

impl Default for Repository {
    /// The newest stable branch, from the mirror that serves every region.
    fn default() -> Self {
        Self {
            mirror: MIRROR.to_owned(),
            branch: BRANCH.to_owned(),
            keys: Keys::alpine(),
        }
    }
}

impl Repository {
    /// The same repository on another mirror: the URL of the folder that holds the branches.
    #[must_use]
    pub fn on_mirror(mut self, url: &str) -> Self {
        url.trim_end_matches('/').clone_into(&mut self.mirror);
        self
    }

    /// Another branch, such as `v3.23`.
    #[must_use]
    pub fn of_branch(mut self, branch: &str) -> Self {
        branch.clone_into(&mut self.branch);
        self
    }

    /// The same repository, signed with one of the keys in a folder (`NAME.rsa.pub`, PEM) in place
    /// of Alpine's.
    ///
    /// # Errors
    /// If the folder cannot be read or holds no key.
    pub fn signed_by(mut self, keys: &Path) -> Result<Self, Error> {
        self.keys = Keys::read(keys)?;
        Ok(self)
    }

    /// Fetches the index and gives the kernel's package as it names it.
    ///
    /// # Errors
    /// If the index cannot be had, is not signed with a known key, is older than the one `seen` last
    /// time, or has no kernel in it.
    pub(crate) fn kernel_package(&self, arch: Arch, seen: &mut Seen) -> Result<Package, Error> {
        let url = self.url(arch, "APKINDEX.tar.gz");
        let bytes = fetch::to_memory(&url, MAX_INDEX)?;
        let mut find = || {
            let index = index::verify(&bytes, &self.keys.of(arch))?;
            seen.accept(&self.name(arch), index.newest_build)?;
            index.find(KERNEL_PACKAGE, arch)
        };
        find().map_err(|source| Error::Repository {
            url: url.clone(),
            source,
        })
    }

    /// Fetches a package into a file.
    ///
    /// # Errors
    /// If it cannot be had or has another size than the index says.
    pub(crate) fn fetch(&self, arch: Arch, package: &Package, file: &Path) -> Result<(), Error> {
        let url = self.url(arch, &package.file_name());
        if package.size > MAX_PACKAGE {
            let source = FormatError::TooLarge {
                what: "The package".to_owned(),
                limit: MAX_PACKAGE,
            };
            return Err(Error::Repository { url, source });
        }
        fetch::to_file(&url, package.size, file)
    }

    fn url(&self, arch: Arch, file: &str) -> String {
        format!("{}/{}/{file}", self.mirror, self.name(arch))
    }

    /// What names the repository on every mirror.
    fn name(&self, arch: Arch) -> String {
        format!("{}/main/{arch}", self.branch)
    }
}
