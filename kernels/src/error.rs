//! What can go wrong with kernels.

use std::io;
use std::path::{Path, PathBuf};

use crate::Arch;

/// Why an operation on the store or on one of its kernels failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host refused something.
    #[error("Cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is not what it was given as, or does not hold a usable kernel.
    #[error("Cannot import a kernel from {}", path.display())]
    Import {
        /// The package or kernel given.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// The file is not what it was given as, or does not hold a usable emulator.
    #[error("Cannot import an emulator from {}", path.display())]
    ImportEmulator {
        /// The package or program given.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// No emulator of this target is stored.
    #[error("No emulator of {0} is stored")]
    NoEmulator(String),
    /// The kernel lacks a driver that one feature needs.
    #[error(
        "Kernel {kernel} has no {driver} driver ({option} is off and there is no such module), \
         which {purpose} need: use another kernel"
    )]
    MissingFeature {
        /// The kernel's version.
        kernel: String,
        /// The driver's module name.
        driver: &'static str,
        /// The option of the kernel's configuration that builds it.
        option: &'static str,
        /// What it is for.
        purpose: &'static str,
    },
    /// A mirror cannot be asked, or does not answer.
    #[error(transparent)]
    Web(#[from] web::Error),
    /// A mirror did not give a file.
    #[error("Cannot fetch {url}: the mirror answered {status}")]
    Fetch {
        /// The file's URL.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// A mirror gave a file that is not to be trusted or not to be used.
    #[error("Cannot use {url}")]
    Repository {
        /// The file's URL.
        url: String,
        /// What is wrong with it.
        source: FormatError,
    },
    /// A folder that should hold public keys has none.
    #[error("No key (NAME.rsa.pub) is in {}", .0.display())]
    NoKeys(PathBuf),
    /// The kernel lacks a driver that every guest needs.
    #[error(
        "Kernel {kernel} has no {driver} driver ({option} is off and there is no such module), \
         which every guest needs: use another kernel"
    )]
    MissingDriver {
        /// The kernel's version.
        kernel: String,
        /// The driver's module name.
        driver: &'static str,
        /// The option of the kernel's configuration that builds it.
        option: &'static str,
    },
    /// A module needs another one that the package does not have.
    #[error("Kernel {kernel}: module {module} needs {dependency}, which is missing")]
    MissingModule {
        /// The kernel's version.
        kernel: String,
        /// The module that has the dependency.
        module: String,
        /// What it depends on.
        dependency: String,
    },
    /// No kernel of this name is stored.
    #[error("No kernel {0} is stored")]
    NotFound(String),
    /// Several kernels go by this name.
    #[error("{name} may be any of {}: give more of the id", matches.join(", "))]
    Ambiguous {
        /// The name given.
        name: String,
        /// The ids it stands for.
        matches: Vec<String>,
    },
    /// The kernel of this name is for another architecture.
    #[error("Kernel {kernel} is for {arch}, and guests of this host are {wanted}")]
    OtherArch {
        /// The kernel's id.
        kernel: String,
        /// What it is for.
        arch: Arch,
        /// What was asked for.
        wanted: Arch,
    },
    /// No kernel for this architecture is stored.
    #[error("No {0} kernel is stored: import one")]
    NoneFor(Arch),
}

/// What is wrong with a file of somebody else's making.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// It cannot be read, or its compression is damaged.
    #[error("It cannot be read to its end")]
    Read(#[from] io::Error),
    /// It breaks the rules of its format, or lacks a needed part.
    #[error("{0}")]
    Malformed(String),
    /// Something in it is larger than anything honest.
    #[error("{what} has more than {limit} bytes")]
    TooLarge {
        /// Which part.
        what: String,
        /// The largest size accepted, in bytes.
        limit: u64,
    },
}

impl FormatError {
    pub(crate) fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed(what.into())
    }
}

/// Puts `action` and `path` to an [`io::Error`], for `map_err`.
pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io {
        action,
        path,
        source,
    }
}
