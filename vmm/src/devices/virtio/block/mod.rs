//! Block device (virtio 1.2, section 5.2).

mod overlay;
mod request;
#[cfg(test)]
mod tests;

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX,
    VIRTIO_BLK_F_WRITE_ZEROES,
};

use super::{Activation, Progress, QueueError, VirtioDevice};
use crate::backend::StartError;
use crate::config::{Disk, Writes};
use overlay::Image;
use request::Request;

const DEVICE_ID: u32 = 2;
const QUEUE_SIZE: u16 = 256;

/// Segments of a request: what fits the queue beside header and status.
const MAX_SEGMENTS: u32 = 254;
/// Largest range of one discard or write-zeroes command, in sectors.
const MAX_RANGE: u32 = 1 << 22;
/// Ranges of one such command.
const MAX_RANGES: u32 = 16;
/// Discarded ranges should begin and end at multiples of so many sectors: a page of the overlay.
const DISCARD_ALIGNMENT: u32 = 8;

/// Bytes of a sector, the unit of addresses.
const SECTOR: u64 = 512;

/// The device.
#[derive(Debug)]
pub(crate) struct Block {
    disk: BlockDisk,
    config: Vec<u8>,
    active: Option<Activation>,
}

/// What requests work on.
#[derive(Debug)]
struct BlockDisk {
    image: Image,
    read_only: bool,
    /// The serial number, NUL-padded.
    serial: [u8; 20],
}

impl Block {
    /// A device over the disk's image.
    ///
    /// # Errors
    /// If the image cannot be opened or the disk's description is wrong.
    pub(crate) fn new(disk: &Disk) -> Result<Self, StartError> {
        let name = disk.path.display();
        let mut serial = [0; 20];
        if disk.serial.len() > serial.len() || !disk.serial.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(StartError::Config(format!(
                "The serial number {:?} of the disk {name} is not of at most 20 printable characters",
                disk.serial
            )));
        }
        for (to, from) in serial.iter_mut().zip(disk.serial.bytes()) {
            *to = from;
        }
        let read_only = disk.writes == Writes::Refused;
        let image = Image::open(&disk.path, read_only).map_err(|source| StartError::Host {
            what: format!("Cannot open the disk {name}"),
            source,
        })?;
        if image.size() == 0 || !image.size().is_multiple_of(SECTOR) {
            return Err(StartError::Config(format!(
                "The disk {name} has {} bytes, not a whole number of {SECTOR}-byte sectors",
                image.size()
            )));
        }
        Ok(Self {
            config: config(image.size() / SECTOR, read_only),
            disk: BlockDisk {
                image,
                read_only,
                serial,
            },
            active: None,
        })
    }
}

impl VirtioDevice for Block {
    fn id(&self) -> u32 {
        DEVICE_ID
    }

    fn features(&self) -> u64 {
        let access = if self.disk.read_only {
            1 << VIRTIO_BLK_F_RO
        } else {
            1 << VIRTIO_BLK_F_DISCARD | 1 << VIRTIO_BLK_F_WRITE_ZEROES
        };
        access | 1 << VIRTIO_BLK_F_FLUSH | 1 << VIRTIO_BLK_F_SEG_MAX
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE]
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn activate(&mut self, activation: Activation) {
        self.active = Some(activation);
    }

    fn reset(&mut self) {
        self.active = None;
    }

    fn process(&mut self) -> Result<Progress, QueueError> {
        let Some((queue, memory, interrupt)) = self.active.as_mut().and_then(|a| a.queue(0)) else {
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
            let request = Request::parse(memory, &chain)?;
            let written = request.execute(memory, &mut self.disk)?;
            queue.finish(&chain, written)?;
        }
        queue.notify(interrupt)?;
        Ok(Progress::More)
    }
}

/// `struct virtio_blk_config`.
fn config(sectors: u64, read_only: bool) -> Vec<u8> {
    let mut config = vec![0; 60];
    let mut put = |offset: usize, bytes: &[u8]| {
        for (to, from) in config.iter_mut().skip(offset).zip(bytes) {
            *to = *from;
        }
    };
    put(0, &sectors.to_le_bytes());
    put(12, &MAX_SEGMENTS.to_le_bytes());
    if !read_only {
        put(36, &MAX_RANGE.to_le_bytes()); // max_discard_sectors
        put(40, &MAX_RANGES.to_le_bytes()); // max_discard_seg
        put(44, &DISCARD_ALIGNMENT.to_le_bytes()); // discard_sector_alignment
        put(48, &MAX_RANGE.to_le_bytes()); // max_write_zeroes_sectors
        put(52, &MAX_RANGES.to_le_bytes()); // max_write_zeroes_seg
        put(56, &[1]); // write_zeroes_may_unmap
    }
    config
}
