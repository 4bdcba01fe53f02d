//! The virtio devices of a machine, found by their registers' addresses.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kvm_ioctls::{IoEventAddress, NoDatamatch, VmFd};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::MmioSlot;
use super::virtio::mmio::{INTERRUPT_ACKNOWLEDGE, INTERRUPT_STATUS, QUEUE_NOTIFY, Transport};
use super::virtio::{Interrupt, VirtioDevice};
use crate::memory::GuestRam;

/// One device with what reaches it from the guest.
#[derive(Debug)]
pub(crate) struct BusDevice {
    transport: Mutex<Transport>,
    interrupt: Arc<Interrupt>,
    /// The guest notified the device of something in its queues.
    notified: EventFd,
}

impl BusDevice {
    fn new(device: Box<dyn VirtioDevice>, memory: &GuestRam) -> io::Result<Self> {
        let interrupt = Arc::new(Interrupt::new()?);
        Ok(Self {
            transport: Mutex::new(Transport::new(
                device,
                memory.clone(),
                Arc::clone(&interrupt),
            )),
            interrupt,
            notified: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
        })
    }

    /// The device and its registers.
    pub(crate) fn transport(&self) -> MutexGuard<'_, Transport> {
        // A thread that panicked with the lock has already ended the machine.
        self.transport
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Becomes readable when the guest notifies the device.
    pub(crate) fn notified(&self) -> &EventFd {
        &self.notified
    }
}

/// All devices, each in the slot of its index.
#[derive(Debug)]
pub(crate) struct Bus {
    devices: Vec<BusDevice>,
}

impl Bus {
    /// Connects devices to a machine: notifications and interrupts do not need a vCPU's thread.
    pub(crate) fn new(
        devices: Vec<Box<dyn VirtioDevice>>,
        vm: &VmFd,
        memory: &GuestRam,
    ) -> io::Result<Self> {
        let devices = devices
            .into_iter()
            .map(|device| BusDevice::new(device, memory))
            .collect::<io::Result<Vec<_>>>()?;
        for (index, device) in devices.iter().enumerate() {
            let slot = MmioSlot::new(index)
                .ok_or_else(|| io::Error::other("More devices than interrupts"))?;
            let notify = IoEventAddress::Mmio(slot.address + QUEUE_NOTIFY);
            vm.register_ioevent(&device.notified, &notify, NoDatamatch)?;
            vm.register_irqfd(device.interrupt.line(), slot.gsi)?;
        }
        Ok(Self { devices })
    }

    /// The devices, in the order of their slots.
    pub(crate) fn devices(&self) -> &[BusDevice] {
        &self.devices
    }

    /// Answers a vCPU's read. `false` if no device is there.
    pub(crate) fn read(&self, address: u64, data: &mut [u8]) -> bool {
        let Some((device, offset)) = self.find(address) else {
            return false;
        };
        match (offset, <&mut [u8; 4]>::try_from(&mut *data)) {
            // Every interrupt handler reads this: it must not wait for the device's work.
            (INTERRUPT_STATUS, Ok(data)) => *data = device.interrupt.status().to_le_bytes(),
            _ => device.transport().read(offset, data),
        }
        true
    }

    /// Takes a vCPU's write. `false` if no device is there.
    pub(crate) fn write(&self, address: u64, data: &[u8]) -> bool {
        let Some((device, offset)) = self.find(address) else {
            return false;
        };
        match (offset, <[u8; 4]>::try_from(data)) {
            (INTERRUPT_ACKNOWLEDGE, Ok(data)) => {
                device.interrupt.acknowledge(u32::from_le_bytes(data));
            }
            _ => {
                if device.transport().write(offset, data) {
                    // Only a full counter can refuse, and then the device will look anyway.
                    let _ = device.notified.write(1);
                }
            }
        }
        true
    }

    fn find(&self, address: u64) -> Option<(&BusDevice, u64)> {
        let (index, offset) = MmioSlot::at(address)?;
        Some((self.devices.get(index)?, offset))
    }
}
