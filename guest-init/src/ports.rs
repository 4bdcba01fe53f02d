//! Names of the virtio-console ports between guest and host.
//!
//! The guest finds each port by its name (virtio 1.2, section 5.3.6.2, `VIRTIO_CONSOLE_PORT_NAME`),
//! never by its number.

/// Control messages, both ways: see [`crate::control`].
pub const CONTROL: &str = "terrarium.control";
/// The command's standard input (to the guest) and standard output (to the host); with a terminal,
/// its pseudo-terminal.
pub const STDIO: &str = "terrarium.stdio";
/// The command's standard error, to the host only; unused with a terminal.
pub const STDERR: &str = "terrarium.stderr";
