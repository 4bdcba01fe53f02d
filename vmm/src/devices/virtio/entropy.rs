//! Entropy device: random bytes of the host (virtio 1.2, section 5.4).

use vm_memory::{Bytes, GuestMemoryError};

use super::{Activation, Progress, QueueError, Segment, VirtioDevice};
use crate::memory::GuestRam;
use crate::random;

const DEVICE_ID: u32 = 4;
const QUEUE_SIZE: u16 = 16;

/// Most bytes for one request. Larger requests get fewer bytes, as the device may.
const MAX_BYTES: usize = 4096;

/// The device.
#[derive(Debug, Default)]
pub(crate) struct Entropy {
    active: Option<Activation>,
}

impl VirtioDevice for Entropy {
    fn id(&self) -> u32 {
        DEVICE_ID
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE]
    }

    fn config(&self) -> &[u8] {
        &[]
    }

    fn activate(&mut self, activation: Activation) {
        self.active = Some(activation);
    }

    fn reset(&mut self) {
        self.active = None;
    }

    fn process(&mut self) -> Result<Progress, QueueError> {
        let Some(Activation {
            memory,
            queues,
            interrupt,
            ..
        }) = &mut self.active
        else {
            return Ok(Progress::Idle);
        };
        let Some(queue) = queues.first_mut() else {
            return Ok(Progress::Idle);
        };
        for _ in 0..queue.size() {
            let Some(chain) = queue.pop()? else {
                queue.notify(interrupt)?;
                if !queue.wait()? {
                    return Ok(Progress::Idle);
                }
                continue;
            };
            // Only a host without random numbers fails, and then the driver gets none.
            let written = fill(memory, &chain.writable).unwrap_or(0);
            queue.finish(&chain, written)?;
        }
        queue.notify(interrupt)?;
        Ok(Progress::More)
    }
}

fn fill(memory: &GuestRam, segments: &[Segment]) -> Result<usize, GuestMemoryError> {
    let mut bytes = [0; MAX_BYTES];
    let mut written = 0;
    for segment in segments {
        let length = segment.length.min(MAX_BYTES - written);
        let Some(bytes) = bytes.get_mut(..length).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        if random::fill(bytes).is_err() {
            break;
        }
        memory.write_slice(bytes, segment.address)?;
        written += length;
    }
    Ok(written)
}
