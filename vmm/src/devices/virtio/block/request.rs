//! One request of the driver (virtio 1.2, section 5.2.6).

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_ID_BYTES, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP,
    VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN,
    VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
};
use vm_memory::Bytes;

use super::super::queue::{part, total};
use super::super::{Chain, QueueError, Segment};
use super::{BlockDisk, MAX_RANGE, MAX_RANGES, QUEUE_SIZE, SECTOR};
use crate::memory::GuestRam;

const HEADER_SIZE: usize = 16;
/// `struct virtio_blk_discard_write_zeroes`.
const RANGE_SIZE: usize = 16;
/// Most data of one request. Drivers send 1 MiB or so; this bounds how long others wait.
const MAX_DATA: usize = 32 << 20;

/// A request whose header was read and whose parts are told from each other.
#[derive(Debug)]
pub(super) struct Request {
    kind: u32,
    sector: u64,
    /// Data from the driver.
    pub(super) output: Vec<Segment>,
    /// Room for data to the driver.
    pub(super) input: Vec<Segment>,
    status: Segment,
}

/// What a request comes to: bytes for the driver, or a status that is not OK.
pub(super) type Outcome = Result<usize, u32>;

impl Request {
    /// Reads the header. The driver may cut the request into descriptors as it likes, into as many as the
    /// queue has places: each that is under way costs the host memory.
    pub(super) fn parse(memory: &GuestRam, chain: &Chain) -> Result<Self, QueueError> {
        if chain.readable.len() + chain.writable.len() > usize::from(QUEUE_SIZE) {
            return Err(QueueError::Chain);
        }
        let mut header = [0; HEADER_SIZE];
        gather(memory, &chain.readable, &mut header)?;
        let [k0, k1, k2, k3, _, _, _, _, sector @ ..] = header;
        let input = total(&chain.writable)
            .checked_sub(1)
            .ok_or(QueueError::Chain)?;
        let status = part(&chain.writable, input, 1);
        Ok(Self {
            kind: u32::from_le_bytes([k0, k1, k2, k3]),
            sector: u64::from_le_bytes(sector),
            output: part(&chain.readable, HEADER_SIZE, usize::MAX),
            input: part(&chain.writable, 0, input),
            status: *status.first().ok_or(QueueError::Chain)?,
        })
    }

    /// What is to be done.
    pub(super) fn plan(&self, memory: &GuestRam, disk: &BlockDisk) -> Plan {
        let plan = match self.kind {
            VIRTIO_BLK_T_IN => {
                let length = total(&self.input);
                disk.offset(self.sector, length)
                    .map(|(offset, length)| Plan::Read { offset, length })
            }
            VIRTIO_BLK_T_OUT if disk.read_only => Err(VIRTIO_BLK_S_IOERR),
            VIRTIO_BLK_T_OUT => {
                let length = total(&self.output);
                disk.offset(self.sector, length)
                    .map(|(offset, length)| Plan::Write { offset, length })
            }
            // A write is answered once all reads see it, and what was written lives as long as the
            // machine: there is nothing that could be made safer.
            VIRTIO_BLK_T_FLUSH => Ok(Plan::Done(Ok(0))),
            VIRTIO_BLK_T_GET_ID => Ok(Plan::Done(self.serial(memory, disk))),
            VIRTIO_BLK_T_DISCARD => self.free(memory, disk, false),
            VIRTIO_BLK_T_WRITE_ZEROES => self.free(memory, disk, true),
            _ => Err(VIRTIO_BLK_S_UNSUPP),
        };
        plan.unwrap_or_else(|status| Plan::Done(Err(status)))
    }

    /// Writes the status. Returns the number of bytes written.
    pub(super) fn answer(&self, memory: &GuestRam, outcome: Outcome) -> Result<usize, QueueError> {
        let (written, status) = match outcome {
            Ok(written) => (written, VIRTIO_BLK_S_OK),
            Err(status) => (0, status),
        };
        let status = u8::try_from(status).unwrap_or(u8::MAX);
        memory
            .write_obj(status, self.status.address)
            .map_err(|_| QueueError::Chain)?;
        // The driver counts the status byte only if all before it was written.
        Ok(if written == total(&self.input) {
            written + 1
        } else {
            written
        })
    }

    fn serial(&self, memory: &GuestRam, disk: &BlockDisk) -> Outcome {
        let room = usize::try_from(VIRTIO_BLK_ID_BYTES).unwrap_or(0);
        let mut rest = disk.serial.as_slice();
        for segment in part(&self.input, 0, room) {
            let (bytes, after) = rest.split_at(segment.length.min(rest.len()));
            memory
                .write_slice(bytes, segment.address)
                .map_err(|_| VIRTIO_BLK_S_IOERR)?;
            rest = after;
        }
        Ok(disk.serial.len() - rest.len())
    }

    /// A discard or write-zeroes command.
    fn free(&self, memory: &GuestRam, disk: &BlockDisk, zero: bool) -> Result<Plan, u32> {
        if !disk.can_free && !disk.read_only {
            return Err(VIRTIO_BLK_S_UNSUPP);
        }
        let allowed = if zero {
            VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP
        } else {
            0
        };
        let ranges = self.ranges(memory, disk)?;
        if ranges.iter().any(|range| range.flags & !allowed != 0) {
            return Err(VIRTIO_BLK_S_UNSUPP);
        }
        Ok(Plan::Free { ranges, zero })
    }

    /// The ranges of a discard or write-zeroes command, all within the disk.
    fn ranges(&self, memory: &GuestRam, disk: &BlockDisk) -> Result<Vec<Range>, u32> {
        if disk.read_only {
            return Err(VIRTIO_BLK_S_IOERR);
        }
        let size = total(&self.output);
        let limit = usize::try_from(MAX_RANGES).unwrap_or(0) * RANGE_SIZE;
        if size == 0 || !size.is_multiple_of(RANGE_SIZE) || size > limit {
            return Err(VIRTIO_BLK_S_UNSUPP);
        }
        let mut bytes = vec![0; size];
        gather(memory, &self.output, &mut bytes).map_err(|_| VIRTIO_BLK_S_IOERR)?;
        let (ranges, _) = bytes.as_chunks::<RANGE_SIZE>();
        ranges
            .iter()
            .map(|range| Range::parse(range, disk))
            .collect()
    }
}

/// What a request comes to be.
#[derive(Debug)]
pub(super) enum Plan {
    /// It is over already.
    Done(Outcome),
    /// Bytes of the disk to the driver.
    Read { offset: u64, length: u64 },
    /// Bytes of the driver to the disk.
    Write { offset: u64, length: u64 },
    /// Ranges are given back, and read as zeroes then if that is wanted.
    Free { ranges: Vec<Range>, zero: bool },
}

/// A range of the disk, in bytes.
#[derive(Debug)]
pub(super) struct Range {
    pub(super) offset: u64,
    pub(super) length: u64,
    flags: u32,
}

impl Range {
    pub(super) fn end(&self) -> u64 {
        self.offset + self.length
    }

    /// Bytes that could be copied while the range is freed.
    pub(super) fn cost(&self) -> u64 {
        self.length / 16
    }

    fn parse(bytes: &[u8; RANGE_SIZE], disk: &BlockDisk) -> Result<Self, u32> {
        let [s0, s1, s2, s3, s4, s5, s6, s7, c0, c1, c2, c3, flags @ ..] = *bytes;
        let count = u32::from_le_bytes([c0, c1, c2, c3]);
        if count > MAX_RANGE {
            return Err(VIRTIO_BLK_S_UNSUPP);
        }
        let length = u64::from(count) * SECTOR;
        let sector = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        Ok(Self {
            offset: disk.range_offset(sector, length)?,
            length,
            flags: u32::from_le_bytes(flags),
        })
    }
}

impl BlockDisk {
    /// Offset and length of a read's or write's data, in bytes, if it is within the disk.
    fn offset(&self, sector: u64, length: usize) -> Result<(u64, u64), u32> {
        if length > MAX_DATA {
            return Err(VIRTIO_BLK_S_IOERR);
        }
        let length = u64::try_from(length).map_err(|_| VIRTIO_BLK_S_IOERR)?;
        Ok((self.range_offset(sector, length)?, length))
    }

    fn range_offset(&self, sector: u64, length: u64) -> Result<u64, u32> {
        if !length.is_multiple_of(SECTOR) {
            return Err(VIRTIO_BLK_S_IOERR);
        }
        sector
            .checked_mul(SECTOR)
            .filter(|offset| {
                offset
                    .checked_add(length)
                    .is_some_and(|end| end <= self.image.size())
            })
            .ok_or(VIRTIO_BLK_S_IOERR)
    }
}

/// Fills `bytes` from the start of the segments.
fn gather(memory: &GuestRam, segments: &[Segment], bytes: &mut [u8]) -> Result<(), QueueError> {
    let mut rest = bytes;
    for segment in segments {
        let (now, later) = rest.split_at_mut(segment.length.min(rest.len()));
        memory
            .read_slice(now, segment.address)
            .map_err(|_| QueueError::Chain)?;
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(QueueError::Chain)
    }
}
