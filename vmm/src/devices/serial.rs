//! The serial port, a 16550A that only sends.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use kvm_ioctls::VmFd;
use rustix::event::{PollFd, PollFlags, poll};
use vm_superio::serial::NoEvents;
use vm_superio::{Serial, Trigger};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// A serial port, wherever its registers are.
#[derive(Debug)]
pub(crate) struct SerialPort(Serial<SerialInterrupt, NoEvents, SerialOutput>);

impl SerialPort {
    /// A port that sends to `output`, until `stop` is readable.
    pub(crate) fn new(vm: &VmFd, output: OwnedFd, gsi: u32, stop: &EventFd) -> io::Result<Self> {
        let interrupt = EventFd::new(EFD_NONBLOCK)?;
        vm.register_irqfd(&interrupt, gsi)?;
        let output = SerialOutput {
            output: output.into(),
            stop: stop.try_clone()?,
        };
        Ok(Self(Serial::new(SerialInterrupt(interrupt), output)))
    }

    /// The value of a register, one of eight.
    pub(crate) fn read(&mut self, register: u8) -> u8 {
        self.0.read(register)
    }

    /// Writes a register.
    pub(crate) fn write(&mut self, register: u8, value: u8) {
        // Output that cannot be written is lost, as on a line that nobody listens to.
        let _ = self.0.write(register, value);
    }
}

#[derive(Debug)]
struct SerialInterrupt(EventFd);

impl Trigger for SerialInterrupt {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

/// Writes to a descriptor that may block, until the machine stops.
#[derive(Debug)]
struct SerialOutput {
    output: File,
    stop: EventFd,
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
