//! The devices beside those of virtio: a serial port. Machines end by PSCI, which is KVM's.

use super::layout;
use crate::backend::VmExit;
use crate::devices::Place;
use crate::devices::serial::SerialPort;

/// Where the serial port's registers begin.
pub(crate) const SERIAL: Place = Place::Memory(layout::SERIAL);

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
        data.fill(0xff);
        if let Some(serial) = &mut self.serial {
            serial.read(place, data);
        }
    }

    /// Takes a vCPU's write. No write ends the machine.
    pub(crate) fn write(&mut self, place: Place, data: &[u8]) -> Option<VmExit> {
        if let Some(serial) = &mut self.serial {
            serial.write(place, data);
        }
        None
    }
}
