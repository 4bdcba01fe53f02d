//! What can go wrong with images.

use std::{io, path::PathBuf};

use crate::{Digest, Platform};

/// An error of this crate. Its chain of sources tells what failed, on what, and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is not an image reference.
    #[error("Invalid image reference {text:?}: {reason}")]
    InvalidReference {
        /// What was given, shortened.
        text: String,
        /// The rule it breaks.
        reason: &'static str,
    },
    /// The text is not a SHA-256 digest.
    #[error("Invalid digest {0:?}: expected sha256: and 64 lower-case hexadecimal digits")]
    InvalidDigest(String),
    /// The digest is of an algorithm that is not supported.
    #[error("Digest algorithm {algorithm} is not supported, only sha256")]
    DigestAlgorithm {
        /// Its name, such as `sha512`.
        algorithm: String,
    },
    /// The text is not a platform.
    #[error("Invalid platform {0:?}: expected OS/ARCHITECTURE[/VARIANT], such as linux/arm/v7")]
    InvalidPlatform(String),
    /// A file operation failed.
    #[error("Cannot {action} {}", path.display())]
    File {
        /// What was tried, such as `create`.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// What requests need on this side is unusable.
    #[error(transparent)]
    Client(web::Error),
    /// The registry could not be reached, or the connection broke.
    #[error("No answer from {url}")]
    Transport {
        /// The request's address.
        url: String,
        /// What the HTTP client says.
        source: Box<ureq::Error>,
    },
    /// The registry refused or failed a request.
    #[error("{url} answered {status}{detail}")]
    Status {
        /// The request's address.
        url: String,
        /// The HTTP status.
        status: u16,
        /// How long the registry asks to wait.
        retry_after: Option<std::time::Duration>,
        /// What the registry said about it, with a separator in front; may be empty.
        detail: String,
    },
    /// The registry has no such image, or hides it.
    #[error("Image {reference} not found in registry {registry}: check its name and tag")]
    NotFound {
        /// The image.
        reference: String,
        /// The registry that was asked.
        registry: String,
    },
    /// Credentials are missing or wrong.
    #[error(
        "Registry {registry} refused access to {reference}: check the name, or log in with `docker login {registry}`"
    )]
    Unauthorized {
        /// The image.
        reference: String,
        /// The registry.
        registry: String,
    },
    /// What the registry sent makes no sense.
    #[error("Registry answer of {url} is unusable: {reason}")]
    BadAnswer {
        /// The request's address.
        url: String,
        /// Why it cannot be used.
        reason: String,
    },
    /// A blob is not what its descriptor promised.
    #[error("Content of {what} has digest {actual}, expected {expected}")]
    DigestMismatch {
        /// Which content.
        what: String,
        /// The digest asked for.
        expected: Digest,
        /// The digest of the bytes that came.
        actual: Digest,
    },
    /// A blob is longer or shorter than its descriptor promised.
    #[error("Content of {what} is {actual} bytes long, expected {expected}")]
    SizeMismatch {
        /// Which content.
        what: String,
        /// The size promised, in bytes.
        expected: u64,
        /// The size seen, in bytes; reading stops one byte after the promised size.
        actual: u64,
    },
    /// A manifest, index or configuration is not valid JSON of its kind.
    #[error("Malformed {what}")]
    Json {
        /// Which document.
        what: String,
        /// Where it breaks.
        source: serde_json::Error,
    },
    /// A manifest, index or configuration is valid JSON, but not usable.
    #[error("Unusable {what}: {reason}")]
    Document {
        /// Which document.
        what: String,
        /// Why it cannot be used.
        reason: String,
    },
    /// The image does not exist for the platform.
    #[error(
        "Image {reference} has no {wanted}, only {}; choose one with --platform",
        list(available)
    )]
    NoPlatform {
        /// The image.
        reference: String,
        /// The platform asked for.
        wanted: Platform,
        /// What the image is offered for.
        available: Vec<Platform>,
    },
    /// A layer cannot be applied.
    #[error("Cannot apply layer {digest}")]
    Layer {
        /// The layer's blob.
        digest: Digest,
        /// What is wrong with it.
        source: Box<crate::layer::LayerError>,
    },
    /// The image needs a disk that cannot be written.
    #[error("Cannot build a disk for {reference}")]
    Disk {
        /// The image.
        reference: String,
        /// Why not.
        source: Box<crate::ext4::Ext4Error>,
    },
    /// A name stands for something else than it did.
    #[error(
        "{reference} should be {expected}, but the registry says {actual}: if you trust that, {remedy}"
    )]
    PinMismatch {
        /// The image.
        reference: String,
        /// The digest that was published or locked.
        expected: Digest,
        /// The digest that the registry gives.
        actual: Digest,
        /// What to do.
        remedy: &'static str,
    },
    /// A file to load is neither a `docker save` archive nor an OCI layout.
    #[error("{} is not an image: {reason}", path.display())]
    NotAnImage {
        /// The file or folder.
        path: PathBuf,
        /// What was looked for and not found.
        reason: String,
    },
    /// The first digits of an image id fit several images.
    #[error("Several images have an id that begins with {prefix}: {}; give more digits", ids.join(", "))]
    AmbiguousId {
        /// The digits.
        prefix: String,
        /// The ids, in full.
        ids: Vec<String>,
    },
    /// The store lacks a blob that its index or a manifest promises.
    #[error("Blob {digest} is missing in the store: pull the image again")]
    MissingBlob {
        /// The blob.
        digest: Digest,
    },
}

fn list(platforms: &[Platform]) -> String {
    let names: Vec<String> = platforms.iter().map(ToString::to_string).collect();
    if names.is_empty() {
        "unknown platforms".to_owned()
    } else {
        names.join(", ")
    }
}

/// Adds the action and the path to an I/O error.
pub(crate) trait FileContext<T> {
    fn context(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T, Error>;
}

impl<T> FileContext<T> for io::Result<T> {
    fn context(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T, Error> {
        self.map_err(|source| Error::File {
            action,
            path: path.into(),
            source,
        })
    }
}

impl From<web::Error> for Error {
    fn from(error: web::Error) -> Self {
        match error {
            web::Error::Address { url, reason } => Self::BadAnswer { url, reason },
            web::Error::Transport { url, source } => Self::Transport { url, source },
            error => Self::Client(error),
        }
    }
}
