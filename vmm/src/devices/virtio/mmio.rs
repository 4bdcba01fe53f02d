//! The transport: a device's memory-mapped registers (virtio 1.2, section 4.2).

mod registers;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_DRIVER_OK,
    VIRTIO_CONFIG_S_FAILED, VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET,
    VIRTIO_F_VERSION_1,
};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::{Queue, QueueT};

use super::queue::DeviceQueue;
use super::{Activation, Confine, HostReady, HostStream, Interrupt, Progress, VirtioDevice, name};
use crate::memory::GuestRam;
use crate::stats::{DeviceCounters, DeviceStats};
use registers::Register;
pub(crate) use registers::{INTERRUPT_ACKNOWLEDGE, INTERRUPT_STATUS, QUEUE_NOTIFY};

/// "virt".
const MAGIC: u32 = 0x7472_6976;
/// The version of virtio 1.
const VERSION: u32 = 2;
/// "TERR", as there are no assigned numbers.
const VENDOR: u32 = 0x5252_4554;

const TRANSPORT_FEATURES: u64 =
    1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_EVENT_IDX | 1 << VIRTIO_RING_F_INDIRECT_DESC;

/// The status bits that a driver sets.
const DRIVER_STATUS: u32 = VIRTIO_CONFIG_S_ACKNOWLEDGE
    | VIRTIO_CONFIG_S_DRIVER
    | VIRTIO_CONFIG_S_FEATURES_OK
    | VIRTIO_CONFIG_S_DRIVER_OK
    | VIRTIO_CONFIG_S_FAILED;

/// A device behind its registers.
pub(crate) struct Transport {
    device: Box<dyn VirtioDevice>,
    memory: GuestRam,
    interrupt: Arc<Interrupt>,
    counters: Arc<DeviceCounters>,
    queues: Vec<QueueSetup>,
    device_features_select: u32,
    driver_features_select: u32,
    driver_features: u64,
    queue_select: u32,
    status: u32,
}

/// What the driver said about a queue so far.
#[derive(Clone, Copy, Debug)]
struct QueueSetup {
    max_size: u16,
    size: u32,
    ready: bool,
    descriptors: u64,
    available: u64,
    used: u64,
}

impl QueueSetup {
    fn new(max_size: u16) -> Self {
        Self {
            max_size,
            size: max_size.into(),
            ready: false,
            descriptors: 0,
            available: 0,
            used: 0,
        }
    }

    /// The queue, if it is as the device's limits and the guest's memory allow.
    fn build(&self, event_index: bool, memory: &GuestRam) -> Option<Queue> {
        let mut queue = Queue::new(self.max_size).ok()?;
        if !self.ready {
            return Some(queue);
        }
        let size = u16::try_from(self.size).ok()?;
        queue.try_set_size(size).ok()?;
        queue
            .try_set_desc_table_address(vm_memory::GuestAddress(self.descriptors))
            .ok()?;
        queue
            .try_set_avail_ring_address(vm_memory::GuestAddress(self.available))
            .ok()?;
        queue
            .try_set_used_ring_address(vm_memory::GuestAddress(self.used))
            .ok()?;
        queue.set_event_idx(event_index);
        queue.set_ready(true);
        // Ring address 0 would be taken for "not set up" later on.
        (self.available != 0 && queue.is_valid(memory)).then_some(queue)
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport")
            .field("device", &self.device.id())
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl Transport {
    /// A transport for `device`, in reset.
    pub(crate) fn new(
        device: Box<dyn VirtioDevice>,
        memory: GuestRam,
        interrupt: Arc<Interrupt>,
    ) -> Self {
        let queues = device.queue_sizes().into_iter().map(QueueSetup::new);
        Self {
            queues: queues.collect(),
            device,
            memory,
            interrupt,
            counters: Arc::default(),
            device_features_select: 0,
            driver_features_select: 0,
            driver_features: 0,
            queue_select: 0,
            status: 0,
        }
    }

    /// What the device is, and what it did so far.
    pub(crate) fn stats(&self) -> DeviceStats {
        self.counters.read(name(self.device.id()))
    }

    /// Gets ready what works for the device beside the devices' thread.
    pub(crate) fn prepare(&mut self, confine: &Arc<Confine>) -> io::Result<usize> {
        self.device.prepare(confine)
    }

    /// The device's descriptors of the host.
    pub(crate) fn host_streams(&self) -> Vec<HostStream<'_>> {
        self.device.host_streams()
    }

    /// The device's driver sleeps until it is answered.
    pub(crate) fn is_patient(&self) -> bool {
        self.device.is_patient()
    }

    /// A descriptor of the host may be ready.
    pub(crate) fn host_ready(&mut self, stream: usize, ready: HostReady) {
        self.device.host_ready(stream, ready);
    }

    /// Lets the device work, if it is active.
    pub(crate) fn process(&mut self) -> Progress {
        // A driver that has failed has given up on the device (section 2.1).
        const STOPPED: u32 = VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED;
        if self.status & VIRTIO_CONFIG_S_DRIVER_OK == 0 || self.status & STOPPED != 0 {
            return Progress::Idle;
        }
        match self.device.process() {
            Ok(progress) => progress,
            Err(_) => {
                self.fail();
                Progress::Idle
            }
        }
    }

    /// Answers a read of `data.len()` bytes at an offset into the registers.
    pub(crate) fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let Some(offset) = registers::config_offset(offset) {
            read_config(self.device.config(), offset, data);
        } else if let (Some(register), Ok(data)) =
            (Register::at(offset), <&mut [u8; 4]>::try_from(data))
        {
            *data = self.read_register(register).to_le_bytes();
        }
    }

    /// Takes a write to the registers. True if the device may have something to do now.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> bool {
        // The configuration of none of the devices here can be written to.
        let (Some(register), Ok(data)) = (Register::at(offset), <[u8; 4]>::try_from(data)) else {
            return false;
        };
        self.write_register(register, u32::from_le_bytes(data))
    }

    fn read_register(&self, register: Register) -> u32 {
        match register {
            Register::Magic => MAGIC,
            Register::Version => VERSION,
            Register::DeviceId => self.device.id(),
            Register::VendorId => VENDOR,
            Register::DeviceFeatures => half(self.features(), self.device_features_select),
            Register::QueueSizeMax => self.queue().map_or(0, |queue| queue.max_size.into()),
            Register::QueueReady => self.queue().map_or(0, |queue| queue.ready.into()),
            Register::InterruptStatus => self.interrupt.status(),
            Register::Status => self.status,
            // No shared memory regions: a length of all ones.
            Register::SharedMemory => u32::MAX,
            // The configuration never changes.
            Register::ConfigGeneration => 0,
            _ => 0,
        }
    }

    fn write_register(&mut self, register: Register, value: u32) -> bool {
        match register {
            Register::DeviceFeaturesSelect => self.device_features_select = value,
            Register::DriverFeaturesSelect => self.driver_features_select = value,
            Register::DriverFeatures if self.status & VIRTIO_CONFIG_S_FEATURES_OK == 0 => {
                let select = self.driver_features_select;
                set_half(&mut self.driver_features, select, value);
            }
            Register::QueueSelect => self.queue_select = value,
            Register::QueueNotify => return true,
            Register::InterruptAcknowledge => self.interrupt.acknowledge(value),
            Register::Status => return self.write_status(value),
            Register::QueueSize => self.set_up_queue(|queue| queue.size = value),
            Register::QueueReady => {
                if let Some(queue) = self.queue_in_setup() {
                    queue.ready = value & 1 != 0;
                }
            }
            Register::QueueDescriptors(half) => {
                self.set_up_queue(|queue| set_half(&mut queue.descriptors, half, value));
            }
            Register::QueueAvailable(half) => {
                self.set_up_queue(|queue| set_half(&mut queue.available, half, value));
            }
            Register::QueueUsed(half) => {
                self.set_up_queue(|queue| set_half(&mut queue.used, half, value));
            }
            _ => {}
        }
        false
    }

    /// Section 2.1: the driver adds bits; writing 0 resets.
    fn write_status(&mut self, value: u32) -> bool {
        if value == 0 {
            self.reset();
            return false;
        }
        let mut added = value & DRIVER_STATUS & !self.status;
        if added & VIRTIO_CONFIG_S_FEATURES_OK != 0 && !self.features_are_good() {
            added &= !VIRTIO_CONFIG_S_FEATURES_OK;
        }
        let started = added & VIRTIO_CONFIG_S_DRIVER_OK != 0;
        self.status |= added;
        if !started {
            return false;
        }
        if self.status & VIRTIO_CONFIG_S_FEATURES_OK == 0 {
            // The driver skipped the negotiation.
            self.fail();
            return false;
        }
        self.activate()
    }

    fn activate(&mut self) -> bool {
        let event_index = self.driver_features & 1 << VIRTIO_RING_F_EVENT_IDX != 0;
        let queues: Option<Vec<_>> = self
            .queues
            .iter()
            .map(|setup| {
                let queue = setup.build(event_index, &self.memory)?;
                Some(DeviceQueue::new(
                    queue,
                    self.memory.clone(),
                    Arc::clone(&self.counters),
                ))
            })
            .collect();
        let Some(queues) = queues else {
            self.fail();
            return false;
        };
        self.device.activate(Activation {
            memory: self.memory.clone(),
            queues,
            interrupt: Arc::clone(&self.interrupt),
            features: self.driver_features,
        });
        true
    }

    fn reset(&mut self) {
        self.device.reset();
        self.interrupt.acknowledge(u32::MAX);
        for queue in &mut self.queues {
            *queue = QueueSetup::new(queue.max_size);
        }
        self.device_features_select = 0;
        self.driver_features_select = 0;
        self.driver_features = 0;
        self.queue_select = 0;
        self.status = 0;
    }

    /// The driver broke the rules: the device stops until it is reset (section 2.1.2).
    fn fail(&mut self) {
        self.device.reset();
        self.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
        self.interrupt.signal_config();
    }

    fn features(&self) -> u64 {
        self.device.features() | TRANSPORT_FEATURES
    }

    fn features_are_good(&self) -> bool {
        self.driver_features & !self.features() == 0
            && self.driver_features & 1 << VIRTIO_F_VERSION_1 != 0
    }

    fn queue(&self) -> Option<&QueueSetup> {
        self.queues.get(usize::try_from(self.queue_select).ok()?)
    }

    /// The selected queue, before the device is active: later, queues are the device's.
    fn queue_in_setup(&mut self) -> Option<&mut QueueSetup> {
        if self.status & VIRTIO_CONFIG_S_DRIVER_OK != 0 {
            return None;
        }
        self.queues
            .get_mut(usize::try_from(self.queue_select).ok()?)
    }

    fn set_up_queue(&mut self, change: impl FnOnce(&mut QueueSetup)) {
        if let Some(queue) = self.queue_in_setup().filter(|queue| !queue.ready) {
            change(queue);
        }
    }
}

fn read_config(config: &[u8], offset: u64, data: &mut [u8]) {
    let Ok(offset) = usize::try_from(offset) else {
        return;
    };
    let bytes = config.get(offset..).unwrap_or_default();
    for (to, from) in data.iter_mut().zip(bytes) {
        *to = *from;
    }
}

/// The low half of a number, the high half, or nothing, by selector.
fn half(value: u64, select: u32) -> u32 {
    let shifted = match select {
        0 => value & 0xffff_ffff,
        1 => value >> 32,
        _ => 0,
    };
    u32::try_from(shifted).unwrap_or(0)
}

fn set_half(value: &mut u64, select: u32, half: u32) {
    match select {
        0 => *value = *value & !0xffff_ffff | u64::from(half),
        1 => *value = *value & 0xffff_ffff | u64::from(half) << 32,
        // There is nothing beyond 64 bits.
        _ => {}
    }
}
