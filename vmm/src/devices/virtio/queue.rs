//! A queue as a device sees it: chains that are checked once, whole.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::Interrupt;
use crate::memory::GuestRam;
use crate::stats::DeviceCounters;

/// `VIRTQ_AVAIL_F_NO_INTERRUPT`.
const NO_INTERRUPT: u16 = 1;

/// Descriptors of a chain. A driver keeps to the queue's size (virtio 1.2, section 2.7.5.3.1), except that Linux
/// takes it for a limit of the ring alone and not of indirect tables, which can have 65,535 entries: this many are
/// more than any request has, and few enough to cost a hostile guest's host nothing.
const MAX_DESCRIPTORS: usize = 1024;

/// The driver broke the rules of queues.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QueueError {
    /// The rings cannot be used.
    #[error("Unusable ring")]
    Ring(#[from] virtio_queue::Error),
    /// A chain of descriptors is empty, endless, too long, out of order or out of memory.
    #[error("Malformed descriptor chain")]
    Chain,
}

/// A piece of guest memory that lies in one mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) address: GuestAddress,
    pub(crate) length: usize,
}

/// A request of the driver: a chain of descriptors.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    head: u16,
    /// What the driver sends.
    pub(crate) readable: Vec<Segment>,
    /// Where it wants the answer.
    pub(crate) writable: Vec<Segment>,
}

#[cfg(test)]
impl Chain {
    /// A chain of these segments.
    pub(super) fn of(readable: Vec<Segment>, writable: Vec<Segment>) -> Self {
        Self {
            head: 0,
            readable,
            writable,
        }
    }
}

/// An active queue. After an error it is of no use until the driver resets the device.
#[derive(Debug)]
pub(crate) struct DeviceQueue {
    queue: Queue,
    memory: GuestRam,
    /// Something was finished since the driver was last interrupted, or chose not to be.
    finished: bool,
    counters: Arc<DeviceCounters>,
}

impl DeviceQueue {
    pub(super) fn new(queue: Queue, memory: GuestRam, counters: Arc<DeviceCounters>) -> Self {
        Self {
            queue,
            memory,
            finished: false,
            counters,
        }
    }

    /// Takes the next request; `None` if there is none.
    ///
    /// # Errors
    /// If the ring or the request is malformed.
    pub(crate) fn pop(&mut self) -> Result<Option<Chain>, QueueError> {
        if !self.queue.ready() {
            return Ok(None);
        }
        let Some(descriptors) = self.queue.iter(&self.memory)?.next() else {
            return Ok(None);
        };
        let mut chain = Chain {
            head: descriptors.head_index(),
            ..Chain::default()
        };
        let mut ends = false;
        for (number, descriptor) in descriptors.enumerate() {
            if number == MAX_DESCRIPTORS {
                return Err(QueueError::Chain);
            }
            let segment = Segment {
                address: descriptor.addr(),
                length: usize::try_from(descriptor.len()).map_err(|_| QueueError::Chain)?,
            };
            ends = !descriptor.has_next();
            if segment.length == 0 {
                continue;
            }
            if self
                .memory
                .get_slice(segment.address, segment.length)
                .is_err()
            {
                return Err(QueueError::Chain);
            }
            if descriptor.is_write_only() {
                chain.writable.push(segment);
            } else if chain.writable.is_empty() {
                chain.readable.push(segment);
            } else {
                return Err(QueueError::Chain);
            }
        }
        if ends {
            Ok(Some(chain))
        } else {
            Err(QueueError::Chain)
        }
    }

    /// Gives a request back, with `written` bytes of its writable part filled.
    ///
    /// # Errors
    /// If the ring is malformed.
    pub(crate) fn finish(&mut self, chain: &Chain, written: usize) -> Result<(), QueueError> {
        self.counters.count(total(&chain.readable), written);
        let written = u32::try_from(written).unwrap_or(u32::MAX);
        self.queue.add_used(&self.memory, chain.head, written)?;
        self.finished = true;
        Ok(())
    }

    /// Interrupts the driver, if it wants that for what was finished since the last call.
    ///
    /// # Errors
    /// If the ring is malformed.
    pub(crate) fn notify(&mut self, interrupt: &Interrupt) -> Result<(), QueueError> {
        if !std::mem::take(&mut self.finished) {
            return Ok(());
        }
        if self.queue.needs_notification(&self.memory)? && self.wants_interrupt() {
            interrupt.signal_used();
        }
        Ok(())
    }

    /// Asks the driver for a notification of the next request; true if one is already there.
    ///
    /// # Errors
    /// If the ring is malformed.
    pub(crate) fn wait(&mut self) -> Result<bool, QueueError> {
        if !self.queue.ready() {
            return Ok(false);
        }
        Ok(self.queue.enable_notification(&self.memory)?)
    }

    /// Most requests that can be outstanding.
    pub(crate) fn size(&self) -> u16 {
        self.queue.size()
    }

    /// Without event indices, a flag says whether the driver wants interrupts.
    fn wants_interrupt(&self) -> bool {
        if self.queue.event_idx_enabled() {
            return true;
        }
        let flags = self
            .memory
            .load::<u16>(GuestAddress(self.queue.avail_ring()), Ordering::Acquire);
        flags.map_or(true, |flags| u16::from_le(flags) & NO_INTERRUPT == 0)
    }
}

/// Bytes of all segments.
pub(crate) fn total(segments: &[Segment]) -> usize {
    segments
        .iter()
        .fold(0, |sum, segment| sum.saturating_add(segment.length))
}

/// The segments of `length` bytes from `offset` on; shorter if there are fewer.
pub(crate) fn part(segments: &[Segment], offset: usize, length: usize) -> Vec<Segment> {
    let mut skip = offset;
    let mut left = length;
    let mut parts = Vec::new();
    for segment in segments {
        if left == 0 {
            break;
        }
        if skip >= segment.length {
            skip -= segment.length;
            continue;
        }
        let taken = (segment.length - skip).min(left);
        // The segment was checked to end inside memory, so this stays below its end.
        let address = GuestAddress(segment.address.0 + u64::try_from(skip).unwrap_or(0));
        parts.push(Segment {
            address,
            length: taken,
        });
        skip = 0;
        left -= taken;
    }
    parts
}
