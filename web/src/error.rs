//! Why there is no answer.

/// Why a server was not asked, or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An environment variable that names a proxy is unusable. Its value is not told: it may hold a password.
    #[error(
        "Environment variable {0} holds no address of an HTTP proxy, such as http://proxy.example:3128"
    )]
    Proxy(&'static str),
    /// What should be a file of certificates holds none.
    #[error("There is no certificate in PEM form")]
    NoCertificate,
    /// What should be an address is none, or leads to none.
    #[error("{url}: {reason}")]
    Address {
        /// What was to be asked.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server could not be reached, or the connection broke.
    #[error("No answer from {url}")]
    Transport {
        /// The request's address.
        url: String,
        /// What the HTTP client says.
        source: Box<ureq::Error>,
    },
}
