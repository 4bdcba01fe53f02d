//! I/O ports: the serial port, and the ways to end a machine.

use super::layout::{KEYBOARD_COMMAND_PORT, SERIAL_PORT, SLEEP_CONTROL_PORT};
use crate::backend::VmExit;
use crate::devices::Place;
use crate::devices::serial::SerialPort;

/// The keyboard controller's command that resets the machine.
pub(super) const RESET_COMMAND: u8 = 0xfe;
/// The sleep type that powers the machine off.
pub(super) const SLEEP_TYPE_OFF: u8 = 5;

const SLEEP_ENABLE: u8 = 1 << 5;

/// Where the serial port's registers begin.
pub(crate) const SERIAL: Place = Place::Port(SERIAL_PORT);

/// The devices that are not on the bus of the virtio devices.
#[derive(Debug)]
pub(crate) struct PlatformDevices {
    serial: Option<SerialPort>,
}

impl PlatformDevices {
    /// Those of a machine with this serial port.
    pub(crate) fn new(serial: Option<SerialPort>) -> Self {
        Self { serial }
    }

    /// Answers a vCPU's read. Where nothing is, all bits are ones.
    pub(crate) fn read(&mut self, place: Place, data: &mut [u8]) {
        data.fill(match place {
            // Nothing to read, and ready for a command.
            Place::Port(KEYBOARD_COMMAND_PORT) => 0,
            _ => 0xff,
        });
        if let Some(serial) = &mut self.serial {
            serial.read(place, data);
        }
    }

    /// Takes a vCPU's write. `Some` if it ends the machine.
    pub(crate) fn write(&mut self, place: Place, data: &[u8]) -> Option<VmExit> {
        let &[value] = data else {
            return None;
        };
        match place {
            Place::Port(KEYBOARD_COMMAND_PORT) if value == RESET_COMMAND => {
                return Some(VmExit::Guest);
            }
            Place::Port(SLEEP_CONTROL_PORT) if value == SLEEP_ENABLE | SLEEP_TYPE_OFF << 2 => {
                return Some(VmExit::Guest);
            }
            _ => {}
        }
        if let Some(serial) = &mut self.serial {
            serial.write(place, data);
        }
        None
    }
}
