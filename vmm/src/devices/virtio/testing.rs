//! A driver for tests: it drives a device through its registers and its rings, as a guest does, well
//! or badly.

use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress};

use super::mmio::Transport;
use super::{Confine, Interrupt, Progress, VirtioDevice};
use crate::memory::GuestRam;

pub(super) const MEMORY_SIZE: u64 = 1 << 20;
/// Where tests may put their data; the rings are below.
pub(super) const DATA: u64 = 0x8_0000;

pub(super) const ACKNOWLEDGE: u32 = 1;
pub(super) const DRIVER: u32 = 2;
pub(super) const DRIVER_OK: u32 = 4;
pub(super) const FEATURES_OK: u32 = 8;
pub(super) const NEEDS_RESET: u32 = 0x40;

pub(super) const NEXT: u16 = 1;
pub(super) const WRITE: u16 = 2;
pub(super) const INDIRECT: u16 = 4;

pub(super) const VERSION_1: u64 = 1 << 32;
pub(super) const EVENT_INDEX: u64 = 1 << 29;

const RING_SPACE: u64 = 0x2000;

/// A descriptor as it stands in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptor {
    pub(super) address: u64,
    pub(super) length: u32,
    pub(super) flags: u16,
    pub(super) next: u16,
}

/// The driver's side of a queue.
#[derive(Debug)]
pub(super) struct Ring {
    pub(super) descriptors: u64,
    pub(super) available: u64,
    pub(super) used: u64,
    pub(super) size: u16,
    next_descriptor: u16,
    available_index: u16,
    used_index: u16,
}

impl Ring {
    /// The descriptor that the next chain begins with.
    pub(super) fn next_place(&self) -> u16 {
        self.next_descriptor
    }
}

/// A guest with one device.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) memory: GuestRam,
    pub(super) transport: Transport,
    pub(super) rings: Vec<Ring>,
}

impl Driver {
    /// A guest whose driver has not looked at the device yet.
    pub(super) fn new(mut device: impl VirtioDevice + 'static) -> Self {
        let confine: Arc<Confine> = Arc::new(|| Ok(()));
        device.prepare(&confine).unwrap();
        Self::as_prepared(device)
    }

    /// The same with a device that is ready to work.
    fn as_prepared(device: impl VirtioDevice + 'static) -> Self {
        let memory =
            GuestRam::from_ranges(&[(GuestAddress(0), usize::try_from(MEMORY_SIZE).unwrap())])
                .unwrap();
        let interrupt = Arc::new(Interrupt::new().unwrap());
        let transport = Transport::new(Box::new(device), memory.clone(), interrupt);
        Self {
            memory,
            transport,
            rings: Vec::new(),
        }
    }

    /// A guest whose driver uses the device with these features beside `VERSION_1`.
    pub(super) fn started(device: impl VirtioDevice + 'static, features: u64) -> Self {
        let mut driver = Self::new(device);
        driver.start(features);
        driver
    }

    pub(super) fn started_as_prepared(device: impl VirtioDevice + 'static, features: u64) -> Self {
        let mut driver = Self::as_prepared(device);
        driver.start(features);
        driver
    }

    pub(super) fn start(&mut self, features: u64) {
        self.negotiate(features | VERSION_1);
        self.set_up_rings();
        self.add_status(DRIVER_OK);
        assert_eq!(
            self.read(0x70),
            ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK
        );
    }

    pub(super) fn negotiate(&mut self, features: u64) {
        self.add_status(ACKNOWLEDGE);
        self.add_status(DRIVER);
        for (select, half) in [(0, features & 0xffff_ffff), (1, features >> 32)] {
            self.write(0x24, select);
            self.write(0x20, u32::try_from(half).unwrap());
        }
        self.add_status(FEATURES_OK);
    }

    pub(super) fn set_up_rings(&mut self) {
        self.rings.clear();
        for index in 0.. {
            self.write(0x30, index);
            let Ok(size @ 1..) = u16::try_from(self.read(0x34)) else {
                break;
            };
            let base = RING_SPACE * u64::from(index);
            let ring = Ring {
                descriptors: base,
                available: base + 0x1000,
                used: base + 0x1400,
                size,
                next_descriptor: 0,
                available_index: 0,
                used_index: 0,
            };
            for address in [ring.available, ring.used] {
                self.memory
                    .write_slice(&[0; 6], GuestAddress(address))
                    .unwrap();
            }
            self.program_ring(&ring);
            self.rings.push(ring);
        }
        self.write(0x30, 0);
    }

    /// Tells the device about a ring of the selected queue.
    pub(super) fn program_ring(&mut self, ring: &Ring) {
        self.write(0x38, ring.size.into());
        for (register, address) in [
            (0x80, ring.descriptors),
            (0x90, ring.available),
            (0xa0, ring.used),
        ] {
            self.write(register, u32::try_from(address & 0xffff_ffff).unwrap());
            self.write(register + 4, u32::try_from(address >> 32).unwrap());
        }
        self.write(0x44, 1);
    }

    pub(super) fn read(&self, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.transport.read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    pub(super) fn write(&mut self, offset: u64, value: u32) {
        self.transport.write(offset, &value.to_le_bytes());
    }

    pub(super) fn add_status(&mut self, bits: u32) {
        let status = self.read(0x70);
        self.write(0x70, status | bits);
    }

    pub(super) fn status(&self) -> u32 {
        self.read(0x70)
    }

    pub(super) fn is_broken(&self) -> bool {
        self.status() & NEEDS_RESET != 0
    }

    /// Puts a descriptor into the table.
    pub(super) fn describe(&self, queue: usize, index: u16, descriptor: Descriptor) {
        let table = self.rings[queue].descriptors;
        self.describe_at(table + u64::from(index) * 16, descriptor);
    }

    pub(super) fn describe_at(&self, address: u64, descriptor: Descriptor) {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&descriptor.address.to_le_bytes());
        bytes.extend_from_slice(&descriptor.length.to_le_bytes());
        bytes.extend_from_slice(&descriptor.flags.to_le_bytes());
        bytes.extend_from_slice(&descriptor.next.to_le_bytes());
        self.memory
            .write_slice(&bytes, GuestAddress(address))
            .unwrap();
    }

    /// Makes a chain of these pieces (address, length, flags) available and returns its head.
    pub(super) fn add(&mut self, queue: usize, pieces: &[(u64, u32, u16)]) -> u16 {
        let size = self.rings[queue].size;
        let head = self.rings[queue].next_descriptor;
        for (position, &(address, length, flags)) in pieces.iter().enumerate() {
            let index = self.rings[queue].next_descriptor;
            let next = (index + 1) % size;
            let more = if position + 1 < pieces.len() { NEXT } else { 0 };
            self.describe(
                queue,
                index,
                Descriptor {
                    address,
                    length,
                    flags: flags | more,
                    next,
                },
            );
            self.rings[queue].next_descriptor = next;
        }
        self.offer(queue, head);
        head
    }

    /// The same through an indirect table at `table`.
    pub(super) fn add_indirect(
        &mut self,
        queue: usize,
        table: u64,
        pieces: &[(u64, u32, u16)],
    ) -> u16 {
        for (index, &(address, length, flags)) in (0_u16..).zip(pieces) {
            let is_last = usize::from(index) + 1 == pieces.len();
            let descriptor = Descriptor {
                address,
                length,
                flags: flags | if is_last { 0 } else { NEXT },
                next: index + 1,
            };
            self.describe_at(table + u64::from(index) * 16, descriptor);
        }
        let length = u32::try_from(pieces.len() * 16).unwrap();
        self.add(queue, &[(table, length, INDIRECT)])
    }

    /// Puts a head into the available ring.
    pub(super) fn offer(&mut self, queue: usize, head: u16) {
        let ring = &mut self.rings[queue];
        let place = u64::from(ring.available_index % ring.size);
        ring.available_index = ring.available_index.wrapping_add(1);
        self.memory
            .write_obj(head, GuestAddress(ring.available + 4 + place * 2))
            .unwrap();
        self.memory
            .write_obj(ring.available_index, GuestAddress(ring.available + 2))
            .unwrap();
    }

    /// Lets the device work until it waits.
    pub(super) fn run(&mut self) {
        for _ in 0..1000 {
            if self.transport.process() != Progress::More {
                return;
            }
        }
        panic!("the device does not come to rest");
    }

    /// The next used element, as head and length.
    pub(super) fn used(&mut self, queue: usize) -> Option<(u32, u32)> {
        let ring = &mut self.rings[queue];
        let index: u16 = self.memory.read_obj(GuestAddress(ring.used + 2)).unwrap();
        if index == ring.used_index {
            return None;
        }
        let place = ring.used + 4 + u64::from(ring.used_index % ring.size) * 8;
        ring.used_index = ring.used_index.wrapping_add(1);
        let element: [u32; 2] = self.memory.read_obj(GuestAddress(place)).unwrap();
        Some((element[0], element[1]))
    }

    pub(super) fn put(&self, address: u64, bytes: &[u8]) {
        self.memory
            .write_slice(bytes, GuestAddress(address))
            .unwrap();
    }

    pub(super) fn get(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.memory
            .read_slice(&mut bytes, GuestAddress(address))
            .unwrap();
        bytes
    }
}
