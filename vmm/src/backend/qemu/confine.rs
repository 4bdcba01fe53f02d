//! What QEMU needs of the host, and nothing else.
//!
//! It is a program that looks for its libraries, firmware and files by their paths, so there is no
//! empty root for it, and root stays root as far as files' permissions go.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use super::arguments::Invocation;
use crate::confinement::{self, Paths};

/// Where programs of the host and what they are made of lie.
const PROGRAMS: [&str; 6] = [
    "/usr",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/nix/store",
    "/gnu/store",
];
/// Where QEMU keeps what the guest writes to its disks, in files without a name.
const TEMPORARY: &str = "/var/tmp";

/// Takes from the calling process what QEMU does not need.
pub(super) fn confine(binary: &Path, invocation: &Invocation) -> io::Result<()> {
    let mut readable: Vec<PathBuf> = PROGRAMS.map(PathBuf::from).into();
    // QEMU may have been installed elsewhere, its libraries and firmware beside it.
    let binary = binary.canonicalize()?;
    if let Some(prefix) = binary.parent().and_then(Path::parent)
        && prefix != Path::new("/")
    {
        readable.push(prefix.to_owned());
    }
    readable.push(binary);
    readable.extend(invocation.readable.iter().cloned());
    let reopened: Vec<BorrowedFd<'_>> = invocation
        .inherited
        .iter()
        .filter(|fd| invocation.reopened.contains(&fd.as_raw_fd()))
        .map(std::os::fd::AsFd::as_fd)
        .collect();
    confinement::allow_only(Paths {
        readable,
        writable: vec![TEMPORARY.into()],
        reopened,
    })?;
    confinement::keep_file_access()?;
    confinement::forbid_core_files()
}
