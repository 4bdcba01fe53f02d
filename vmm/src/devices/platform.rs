//! The devices beside those of virtio: a serial port, and what the architecture has.

use super::Place;
use super::serial::SerialPort;
use crate::arch::BoardDevices;
use crate::backend::VmExit;

/// The devices that are not on the bus of the virtio devices.
#[derive(Debug)]
pub(crate) struct PlatformDevices {
    serial: Option<SerialPort>,
    board: BoardDevices,
}

impl PlatformDevices {
    /// Those of a machine with this serial port.
    pub(crate) fn new(serial: Option<SerialPort>) -> Self {
        Self {
            serial,
            board: BoardDevices::new(),
        }
    }

    /// Answers a vCPU's read.
    pub(crate) fn read(&mut self, place: Place, data: &mut [u8]) {
        self.board.read(place, data);
        if let Some(serial) = &mut self.serial {
            serial.read(place, data);
        }
    }

    /// Takes a vCPU's write. `Some` if it ends the machine.
    pub(crate) fn write(&mut self, place: Place, data: &[u8]) -> Option<VmExit> {
        if self.board.write(place, data) {
            return Some(VmExit::Guest);
        }
        if let Some(serial) = &mut self.serial {
            serial.write(place, data);
        }
        None
    }
}
