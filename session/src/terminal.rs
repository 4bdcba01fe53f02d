//! The process's own terminal.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use guest_init::spec::TerminalSize;
use rustix::fs::{Mode, OFlags};
use rustix::stdio::{stdin, stdout};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

/// The terminal on standard input in raw mode; dropped, it is as it was before.
#[derive(Debug)]
pub struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Sets the terminal on standard input to raw mode; `None` if it is no terminal.
    ///
    /// # Errors
    /// If the terminal refuses.
    pub fn enter() -> io::Result<Option<Self>> {
        if !isatty(stdin()) {
            return Ok(None);
        }
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        Ok(Some(Self { before }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // `Now`, not `Drain`: a terminal whose output is stopped must not hold up the way out.
        // Nothing can be done here if the terminal is gone.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}

/// A descriptor to write `stream` by. A terminal may take fewer bytes than it says without blocking,
/// so it is opened once more, non-blocking: flags set on the one at hand would be everybody's.
pub(crate) fn sink(stream: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    if isatty(stream) {
        let path = format!("/proc/self/fd/{}", stream.as_raw_fd());
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        // Another user's terminal does not open; then what is at hand has to do.
        if let Ok(terminal) = rustix::fs::open(path, flags, Mode::empty()) {
            return Ok(terminal);
        }
    }
    stream.try_clone_to_owned()
}

/// The size of the terminal on standard input, or else on standard output.
#[must_use]
pub fn size() -> Option<TerminalSize> {
    let size = tcgetwinsize(stdin())
        .or_else(|_| tcgetwinsize(stdout()))
        .ok()?;
    Some(TerminalSize {
        rows: size.ws_row,
        columns: size.ws_col,
    })
}
