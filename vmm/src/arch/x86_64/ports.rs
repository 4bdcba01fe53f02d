//! I/O ports: the serial port, and the ways to end a machine.

use std::io;
use std::os::fd::OwnedFd;

use kvm_ioctls::VmFd;
use vm_superio::serial::NoEvents;
use vm_superio::{Serial, Trigger};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::layout::{KEYBOARD_COMMAND_PORT, SERIAL_GSI, SERIAL_PORT, SLEEP_CONTROL_PORT};
use crate::devices::serial::SerialOutput;

/// The keyboard controller's command that resets the machine.
pub(super) const RESET_COMMAND: u8 = 0xfe;
/// The sleep type that powers the machine off.
pub(super) const SLEEP_TYPE_OFF: u8 = 5;

const SLEEP_ENABLE: u8 = 1 << 5;
const SERIAL_LAST: u16 = SERIAL_PORT + 7;

/// Everything behind I/O ports.
#[derive(Debug)]
pub(crate) struct Ports {
    serial: Option<SerialDevice>,
}

type SerialDevice = Serial<SerialInterrupt, NoEvents, SerialOutput>;

/// What a port write means for the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PortWrite {
    /// Nothing.
    Done,
    /// The guest resets or powers off.
    Ended,
}

impl Ports {
    /// The ports of a machine whose serial output goes to `serial`; `stop` ends a blocked write.
    pub(crate) fn new(vm: &VmFd, serial: Option<OwnedFd>, stop: &EventFd) -> io::Result<Self> {
        let serial = match serial {
            None => None,
            Some(output) => {
                let interrupt = EventFd::new(EFD_NONBLOCK)?;
                vm.register_irqfd(&interrupt, SERIAL_GSI)?;
                let output = SerialOutput::new(output, stop.try_clone()?);
                Some(Serial::new(SerialInterrupt(interrupt), output))
            }
        };
        Ok(Self { serial })
    }

    /// Answers an `in` instruction.
    pub(crate) fn read(&mut self, port: u16, data: &mut [u8]) {
        data.fill(match port {
            // Nothing to read, and ready for a command.
            KEYBOARD_COMMAND_PORT => 0,
            _ => 0xff,
        });
        if let (Some(serial), Some(offset), [value]) =
            (&mut self.serial, serial_register(port), data)
        {
            *value = serial.read(offset);
        }
    }

    /// Does what an `out` instruction asks for.
    pub(crate) fn write(&mut self, port: u16, data: &[u8]) -> PortWrite {
        let &[value] = data else {
            return PortWrite::Done;
        };
        match port {
            KEYBOARD_COMMAND_PORT if value == RESET_COMMAND => return PortWrite::Ended,
            SLEEP_CONTROL_PORT if value == SLEEP_ENABLE | SLEEP_TYPE_OFF << 2 => {
                return PortWrite::Ended;
            }
            _ => {}
        }
        if let (Some(serial), Some(offset)) = (&mut self.serial, serial_register(port)) {
            // Output that cannot be written is lost, as on a line that nobody listens to.
            let _ = serial.write(offset, value);
        }
        PortWrite::Done
    }
}

fn serial_register(port: u16) -> Option<u8> {
    (SERIAL_PORT..=SERIAL_LAST)
        .contains(&port)
        .then(|| u8::try_from(port - SERIAL_PORT).unwrap_or(0))
}

#[derive(Debug)]
struct SerialInterrupt(EventFd);

impl Trigger for SerialInterrupt {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}
