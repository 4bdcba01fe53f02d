//! What stopped the guest from running its command.

use std::fmt::Display;

use guest_init::control::FailureKind;

/// Why there is no command, ready to be told to the host.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Decides the exit code.
    pub(crate) kind: FailureKind,
    /// One line: what failed, on what, and why.
    pub(crate) message: String,
}

impl Failure {
    /// The guest could not be set up.
    pub(crate) fn setup(message: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Setup,
            message: message.into(),
        }
    }
}

/// Says what was being done when an error came up.
pub(crate) trait Context<T> {
    /// Turns an error into a setup failure: `what`, then the error.
    fn context(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Display> Context<T> for Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::setup(format!("{}: {error}", what())))
    }
}
