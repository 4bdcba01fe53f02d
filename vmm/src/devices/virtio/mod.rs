//! Virtio devices (virtio 1.2) over memory-mapped registers.

pub(crate) mod balloon;
pub(crate) mod block;
pub(crate) mod console;
pub(crate) mod entropy;
mod interrupt;
pub(crate) mod mmio;
mod queue;
mod rate;
#[cfg(test)]
mod testing;

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use virtio_bindings::virtio_ids::{
    VIRTIO_ID_BALLOON, VIRTIO_ID_BLOCK, VIRTIO_ID_CONSOLE, VIRTIO_ID_RNG,
};

pub(crate) use interrupt::Interrupt;
pub(crate) use queue::{Chain, DeviceQueue, QueueError, Segment};

use crate::memory::GuestRam;

/// What a driver hands over when it activates a device.
#[derive(Debug)]
pub(crate) struct Activation {
    /// The guest's memory.
    pub(crate) memory: GuestRam,
    /// The queues that the device asked for, in its order. Those that the driver left out stay empty.
    pub(crate) queues: Vec<DeviceQueue>,
    /// The device's interrupt.
    pub(crate) interrupt: Arc<Interrupt>,
    /// The features that both sides know.
    pub(crate) features: u64,
}

impl Activation {
    /// A queue, by its number, with what it takes to serve it; `None` if the device has no such.
    pub(crate) fn queue(
        &mut self,
        number: usize,
    ) -> Option<(&mut DeviceQueue, &GuestRam, &Interrupt)> {
        let queue = self.queues.get_mut(number)?;
        Some((queue, &self.memory, &self.interrupt))
    }
}

/// What a device has left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It waits for the guest or the host.
    Idle,
    /// It stopped so that others get their turn: call it again.
    More,
    /// It may not do more before this moment: call it again then.
    At(Instant),
}

impl Progress {
    /// The sooner of two.
    pub(crate) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::More, _) | (_, Self::More) => Self::More,
            (Self::At(one), Self::At(other)) => Self::At(one.min(other)),
            (Self::At(when), Self::Idle) | (Self::Idle, Self::At(when)) => Self::At(when),
            (Self::Idle, Self::Idle) => Self::Idle,
        }
    }
}

/// Takes from the calling thread what the devices' work does not need.
pub(crate) type Confine = dyn Fn() -> io::Result<()> + Send + Sync;

/// A virtio device, behind a transport that knows its registers.
///
/// All calls of one device come one after the other, from the vCPUs for registers and from the
/// devices' thread for everything else.
pub(crate) trait VirtioDevice: Send {
    /// Device id (virtio 1.2, section 5).
    fn id(&self) -> u32;

    /// Features that this device offers, beside those of the transport and the queues.
    fn features(&self) -> u64;

    /// Largest size of each queue, a power of two each.
    fn queue_sizes(&self) -> Vec<u16>;

    /// The device's configuration space.
    fn config(&self) -> &[u8];

    /// The driver is ready. Called again only after [`reset`](Self::reset).
    fn activate(&mut self, activation: Activation);

    /// The driver lets go of the device: nothing of the guest's is touched after this.
    fn reset(&mut self);

    /// Does what there is to do for the guest, and some of it only if there is much.
    ///
    /// # Errors
    /// If the driver broke the rules. It must reset the device before anything else happens.
    fn process(&mut self) -> Result<Progress, QueueError>;

    /// Gets ready what works for the device beside the devices' thread, which calls this before it
    /// confines itself; threads that are made here have to do so on their own. Returns how many there are.
    ///
    /// # Errors
    /// If the host refuses what is needed.
    fn prepare(&mut self, _confine: &Arc<Confine>) -> io::Result<usize> {
        Ok(0)
    }

    /// The device's driver sleeps until it is answered, and other programs of the guest go on.
    fn is_patient(&self) -> bool {
        false
    }

    /// What of the host's the device waits for (edge-triggered).
    fn host_streams(&self) -> Vec<HostStream<'_>> {
        Vec::new()
    }

    /// The stream of this number may be ready; [`process`](Self::process) follows.
    fn host_ready(&mut self, _stream: usize, _ready: HostReady) {}
}

/// What a device of this id is called, in numbers for people.
fn name(id: u32) -> &'static str {
    match id {
        VIRTIO_ID_BLOCK => "block",
        VIRTIO_ID_CONSOLE => "console",
        VIRTIO_ID_RNG => "rng",
        VIRTIO_ID_BALLOON => "balloon",
        _ => "unknown",
    }
}

/// A descriptor of the host, and what a device wants to know of it.
#[derive(Debug)]
pub(crate) struct HostStream<'a> {
    pub(crate) fd: BorrowedFd<'a>,
    /// Whether it can be written to, beside whether it can be read from.
    pub(crate) writable: bool,
}

/// What may be possible with a descriptor of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HostReady {
    /// Reading will not block.
    pub(crate) readable: bool,
    /// Writing will not block.
    pub(crate) writable: bool,
    /// Nobody is at the other end any more.
    pub(crate) closed: bool,
}
