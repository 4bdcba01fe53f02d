//! The devices beside those of virtio: a serial port. Machines end by PSCI, which is KVM's.

use std::io;
use std::os::fd::OwnedFd;

use kvm_ioctls::VmFd;
use vmm_sys_util::eventfd::EventFd;

use super::layout::{SERIAL, SERIAL_GSI};
use crate::backend::VmExit;
use crate::devices::Place;
use crate::devices::serial::SerialPort;

const SERIAL_LAST: u64 = SERIAL + 7;

/// The devices that are not on the bus of the virtio devices.
#[derive(Debug)]
pub(crate) struct PlatformDevices {
    serial: Option<SerialPort>,
}

impl PlatformDevices {
    /// Those of a machine whose serial output goes to `serial`; `stop` ends a blocked write.
    pub(crate) fn new(vm: &VmFd, serial: Option<OwnedFd>, stop: &EventFd) -> io::Result<Self> {
        let serial = serial
            .map(|output| SerialPort::new(vm, output, SERIAL_GSI, stop))
            .transpose()?;
        Ok(Self { serial })
    }

    /// Answers a vCPU's read. Where nothing is, all bits are ones.
    pub(crate) fn read(&mut self, place: Place, data: &mut [u8]) {
        data.fill(0xff);
        if let (Some(serial), Some(offset), [value]) =
            (&mut self.serial, serial_register(place), data)
        {
            *value = serial.read(offset);
        }
    }

    /// Takes a vCPU's write. No write ends the machine.
    pub(crate) fn write(&mut self, place: Place, data: &[u8]) -> Option<VmExit> {
        if let (Some(serial), Some(offset), &[value]) =
            (&mut self.serial, serial_register(place), data)
        {
            serial.write(offset, value);
        }
        None
    }
}

fn serial_register(place: Place) -> Option<u8> {
    match place {
        Place::Memory(address @ SERIAL..=SERIAL_LAST) => u8::try_from(address - SERIAL).ok(),
        _ => None,
    }
}
