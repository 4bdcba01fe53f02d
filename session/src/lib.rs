//! The host's half of a run.
//!
//! Everything here is about the three ports that a guest has (see [`guest_init::ports`]) and the
//! process's own standard streams, terminal and signals. It knows nothing of what runs the machine
//! on the other end of the ports.
//!
//! One thread does it all, in one `poll(2)` loop with bounded buffers: whoever does not read makes
//! the writer wait, on either side, and no stream holds up another.

mod control;
mod event_loop;
mod flow;
mod ports;
mod signals;
pub mod terminal;

use std::os::fd::BorrowedFd;
use std::time::Duration;

use guest_init::control::{ExitStatus, FailureKind, ProtocolError};

pub use ports::{HostPorts, ports};
pub use signals::{Signals, is_ignored};

/// How to run a session.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Send the process's standard input to the guest.
    pub stdin: bool,
    /// The guest's command has a terminal: follow the size of this process's terminal, and let its
    /// keys be keys.
    pub terminal: bool,
    /// Stop the run this long after the command's start.
    pub timeout: Option<Duration>,
    /// Give up if the command has not started after this long.
    pub start_timeout: Duration,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The command ran and ended.
    Exited(ExitStatus),
    /// The guest could not start the command. The message is the guest's, made printable.
    Failed {
        /// What kind of failure.
        kind: FailureKind,
        /// One line, printable.
        message: String,
    },
    /// The machine stopped without a word.
    Stopped,
    /// The command ran longer than [`Options::timeout`].
    TimedOut,
    /// The command did not start within [`Options::start_timeout`].
    NotStarted,
    /// The user wants the run to end at once, by this signal.
    Interrupted(u8),
}

/// Milestones of a session, for whoever measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Milestone {
    /// guest-init runs. The guest's clock at its start, in microseconds since the kernel's.
    InitReady {
        /// `CLOCK_BOOTTIME` of the guest.
        init_started_us: u64,
    },
    /// The command was started. The guest's clock then, in microseconds.
    CommandStarted {
        /// `CLOCK_BOOTTIME` of the guest.
        command_started_us: u64,
    },
    /// The first byte of output arrived.
    FirstOutput,
    /// The command ended.
    CommandExited,
}

/// What makes a session impossible to go on.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The guest does not keep to the control protocol.
    #[error("The guest broke the control protocol")]
    Protocol(#[from] ProtocolError),
    /// A system call of the host failed.
    #[error("Failed to {what}")]
    Host {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl SessionError {
    fn host(what: &'static str, source: impl Into<std::io::Error>) -> Self {
        Self::Host {
            what,
            source: source.into(),
        }
    }
}

/// Runs the session until the guest's command or the machine ends.
///
/// `stopped` becomes readable when the machine stops by itself. The caller stops the machine
/// afterwards, whatever the outcome. Signals that came since they were caught count.
///
/// # Errors
/// If the guest breaks the protocol, or the host refuses something basic such as `poll(2)`.
pub fn run(
    ports: HostPorts,
    signals: Signals,
    stopped: BorrowedFd<'_>,
    options: Options,
    milestone: &mut dyn FnMut(Milestone),
) -> Result<Outcome, SessionError> {
    let _raw = if options.terminal && options.stdin {
        terminal::RawMode::enter().map_err(|e| SessionError::host("set the terminal to raw", e))?
    } else {
        None
    };
    event_loop::EventLoop::new(ports, signals, options, milestone)?.run(stopped)
}
