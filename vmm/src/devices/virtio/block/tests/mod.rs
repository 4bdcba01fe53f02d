//! Tests of the block device, through a driver: what they share.

mod changes;
mod load;
mod requests;

use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::NamedTempFile;
use vm_memory::{Bytes, GuestAddress};

use super::super::testing::{DATA, DRIVER_OK, Descriptor, Driver, EVENT_INDEX, MEMORY_SIZE, WRITE};
use super::super::{Chain, Segment};
use super::*;

const READ: u32 = 0;
const WRITE_DATA: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;

const OK: u8 = 0;
const IO_ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;

const STATUS: u64 = DATA - 16;
const HEADER: u64 = DATA - 32;
const SECTORS: u64 = 67; // the last page is a short one

struct Guest {
    driver: Driver,
    base: NamedTempFile,
}

/// Every byte of the base says where it is.
fn base_byte(offset: usize) -> u8 {
    u8::try_from((offset / 512 * 7 + offset) % 251).unwrap()
}

fn base_bytes(offset: usize, length: usize) -> Vec<u8> {
    (offset..offset + length).map(base_byte).collect()
}

fn base() -> NamedTempFile {
    let mut base = NamedTempFile::new().unwrap();
    let size = usize::try_from(SECTORS * SECTOR).unwrap();
    base.write_all(&base_bytes(0, size)).unwrap();
    base
}

fn in_file() -> Writes {
    Writes::InFile {
        folder: std::env::temp_dir(),
    }
}

fn block(base: &NamedTempFile, writes: Writes, kind: Kind) -> Block {
    let device = Block::new(&Disk {
        path: base.path().into(),
        serial: "disk-0".into(),
        writes,
    })
    .unwrap();
    match kind {
        Kind::Any => device,
        Kind::Threads => device.on_threads(),
    }
}

fn guest_with(writes: Writes, kind: Kind) -> Guest {
    let base = base();
    Guest {
        driver: Driver::started(block(&base, writes, kind), EVENT_INDEX),
        base,
    }
}

fn guest() -> Guest {
    guest_with(Writes::InMemory, Kind::Any)
}

fn range_bytes(sector: u64, sectors: u32, flags: u32) -> Vec<u8> {
    let mut range = sector.to_le_bytes().to_vec();
    range.extend_from_slice(&sectors.to_le_bytes());
    range.extend_from_slice(&flags.to_le_bytes());
    range
}

fn small_memory() -> GuestRam {
    GuestRam::from_ranges(&[(GuestAddress(0), 0x1_0000)]).unwrap()
}

/// A request for sector 0 as the device gets it, without a driver before it.
fn chain(memory: &GuestRam, kind: u32, data: &[u8]) -> Chain {
    let mut header = [0; 16];
    header[..4].copy_from_slice(&kind.to_le_bytes());
    memory.write_slice(&header, GuestAddress(0)).unwrap();
    memory.write_slice(data, GuestAddress(4096)).unwrap();
    let segment = |address, length| Segment {
        address: GuestAddress(address),
        length,
    };
    Chain::of(
        vec![segment(0, 16), segment(4096, data.len())],
        vec![segment(64, 1)],
    )
}

/// Guests with every kind of writable disk.
fn guests() -> impl Iterator<Item = Guest> {
    let kinds = [Kind::Any, Kind::Threads].into_iter();
    kinds.flat_map(|kind| [Writes::InMemory, in_file()].map(|writes| guest_with(writes, kind)))
}

impl Guest {
    /// Sends a request with `pieces` between header and status. Returns the status and the number
    /// of bytes that the device says it wrote.
    fn request(&mut self, kind: u32, sector: u64, pieces: &[(u64, u32, u16)]) -> (u8, u32) {
        self.put_header(kind, sector);
        let mut all = vec![(HEADER, 16, 0)];
        all.extend_from_slice(pieces);
        all.push((STATUS, 1, WRITE));
        self.driver.add(0, &all);
        let (_, written) = self.finished();
        (self.driver.get(STATUS, 1)[0], written)
    }

    /// The next request that the device has finished.
    fn finished(&mut self) -> (u32, u32) {
        loop {
            self.driver.run();
            assert!(!self.driver.is_broken());
            if let Some(used) = self.driver.used(0) {
                return used;
            }
            self.wait();
        }
    }

    /// Waits until the device's engine has done something.
    fn wait(&mut self) {
        let limit = Timespec {
            tv_sec: 20,
            tv_nsec: 0,
        };
        let ready = {
            let streams = self.driver.transport.host_streams();
            let mut fds = [PollFd::new(&streams[0].fd, PollFlags::IN)];
            poll(&mut fds, Some(&limit)).unwrap()
        };
        assert_eq!(ready, 1, "nothing happens");
        let ready = HostReady {
            readable: true,
            writable: false,
            closed: false,
        };
        self.driver.transport.host_ready(0, ready);
    }

    fn put_header(&self, kind: u32, sector: u64) {
        let mut header = kind.to_le_bytes().to_vec();
        header.extend_from_slice(&[0; 4]);
        header.extend_from_slice(&sector.to_le_bytes());
        self.driver.put(HEADER, &header);
        self.driver.put(STATUS, &[0xee]);
    }

    fn read(&mut self, sector: u64, sectors: u32) -> Vec<u8> {
        let bytes = sectors * 512;
        let outcome = self.request(READ, sector, &[(DATA, bytes, WRITE)]);
        assert_eq!(outcome, (OK, bytes + 1));
        self.driver.get(DATA, usize::try_from(bytes).unwrap())
    }

    fn write(&mut self, sector: u64, bytes: &[u8]) -> u8 {
        self.driver.put(DATA, bytes);
        let length = u32::try_from(bytes.len()).unwrap();
        self.request(WRITE_DATA, sector, &[(DATA, length, 0)]).0
    }

    fn range(&mut self, kind: u32, sector: u64, sectors: u32, flags: u32) -> u8 {
        self.driver.put(DATA, &range_bytes(sector, sectors, flags));
        self.request(kind, 0, &[(DATA, 16, 0)]).0
    }

    fn base_is_untouched(&self) -> bool {
        let size = usize::try_from(SECTORS * SECTOR).unwrap();
        std::fs::read(self.base.path()).unwrap() == base_bytes(0, size)
    }
}
