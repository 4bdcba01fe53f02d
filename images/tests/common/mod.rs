//! What the tests share: a real registry, tools, and images made for a test.

#![allow(dead_code, reason = "each test program uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "failures of helpers fail the test"
)]

pub(crate) mod archive;
pub(crate) mod layout;
pub(crate) mod mount;
pub(crate) mod odd;
pub(crate) mod registry;
pub(crate) mod scripted;
pub(crate) mod snapshot;
pub(crate) mod stored;

use std::process::{Command, Output};

/// Runs a tool of the machine; a missing or failing one fails the test.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot run {:?}: {error}", command.get_program()));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
