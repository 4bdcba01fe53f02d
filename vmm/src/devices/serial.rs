//! Where a serial port's output goes.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use vmm_sys_util::eventfd::EventFd;

/// Writes to a descriptor that may block, until the machine stops.
#[derive(Debug)]
pub(crate) struct SerialOutput {
    output: File,
    stop: EventFd,
}

impl SerialOutput {
    /// Output to `output`, given up once `stop` is readable.
    pub(crate) fn new(output: OwnedFd, stop: EventFd) -> Self {
        Self {
            output: output.into(),
            stop,
        }
    }
}

impl Write for SerialOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: the descriptor is open as long as `self`.
        let stop = unsafe {
            std::os::fd::BorrowedFd::borrow_raw(std::os::fd::AsRawFd::as_raw_fd(&self.stop))
        };
        let mut fds = [
            PollFd::from_borrowed_fd(self.output.as_fd(), PollFlags::OUT),
            PollFd::from_borrowed_fd(stop, PollFlags::IN),
        ];
        poll(&mut fds, None)?;
        if fds[0].revents().is_empty() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
