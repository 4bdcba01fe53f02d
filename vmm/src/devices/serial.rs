//! The serial port, a 16550A that only sends.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use kvm_ioctls::VmFd;
use rustix::event::{PollFd, PollFlags, poll};
use vm_superio::serial::NoEvents;
use vm_superio::{Serial, Trigger};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::Place;
use crate::arch;

const REGISTERS: u8 = 8;

/// A serial port, at the architecture's place for it.
#[derive(Debug)]
pub(crate) struct SerialPort(Serial<SerialInterrupt, NoEvents, SerialOutput>);

impl SerialPort {
    /// A port that sends to `output`, until `stop` is readable.
    pub(crate) fn new(vm: &VmFd, output: OwnedFd, stop: &EventFd) -> io::Result<Self> {
        let interrupt = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        vm.register_irqfd(&interrupt, arch::SERIAL_GSI)?;
        let output = SerialOutput {
            output: output.into(),
            stop: stop.try_clone()?,
        };
        Ok(Self(Serial::new(SerialInterrupt(interrupt), output)))
    }

    /// Answers a vCPU's read of one of its registers, which have a byte each. All others stay as they are.
    pub(crate) fn read(&mut self, place: Place, data: &mut [u8]) {
        if let (Some(register), [value]) = (register(place), data) {
            *value = self.0.read(register);
        }
    }

    /// Takes a vCPU's write to one of its registers; nothing happens at all others.
    pub(crate) fn write(&mut self, place: Place, data: &[u8]) {
        if let (Some(register), &[value]) = (register(place), data) {
            // Output that cannot be written is lost, as on a line that nobody listens to.
            let _ = self.0.write(register, value);
        }
    }
}

fn register(place: Place) -> Option<u8> {
    let offset = u8::try_from(place.offset_from(arch::SERIAL)?).ok()?;
    (offset < REGISTERS).then_some(offset)
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
