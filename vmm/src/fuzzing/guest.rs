//! A guest that does what the input says, well or badly, with one device.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress};

use super::input::Input;
use crate::devices::virtio::mmio::Transport;
use crate::devices::virtio::{Confine, HostReady, Interrupt, Progress, VirtioDevice};
use crate::memory::GuestRam;

/// Bytes of the guest's memory.
const MEMORY: u64 = 256 << 10;
/// Where each queue has its rings when the guest sets them up by the book.
const RING_SPACE: u64 = 0x2000;
/// Where buffers are, mostly.
const DATA: u64 = 0x2_0000;

/// Most that one input can make a guest do.
const STEPS: usize = 1000;
/// How often the device may go on after the guest has nothing more to say. A guest can write rings that
/// a device feeds itself from, so it need not come to rest.
const LAST_TURNS: usize = 64;

/// Resets of one input after which all memory is looked at.
const LOOKS: u32 = 8;

const VERSION_1: u64 = 1 << 32;
const STATUS: u64 = 0x70;

/// Registers that a driver writes.
const WRITABLE: [u64; 17] = [
    0x14, 0x20, 0x24, 0x30, 0x38, 0x44, 0x50, 0x64, 0x70, 0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4,
    0x100, 0xfc,
];

/// A guest with its device, and the host's ends of the device's streams.
#[derive(Debug)]
pub(super) struct Guest {
    memory: GuestRam,
    transport: Transport,
    host: Vec<Option<UnixStream>>,
    queues: u32,
    /// How many heads were put into each available ring.
    offered: Vec<u16>,
    /// After how many more resets the guest looks at all of its memory.
    looks: u32,
}

impl Guest {
    pub(super) fn new(
        mut device: impl VirtioDevice + 'static,
        host: Vec<UnixStream>,
    ) -> io::Result<Self> {
        let confine: Arc<Confine> = Arc::new(|| Ok(()));
        device.prepare(&confine)?;
        let queues = device.queue_sizes().len();
        let size = usize::try_from(MEMORY).map_err(io::Error::other)?;
        let memory = GuestRam::from_ranges(&[(GuestAddress(0), size)]).map_err(io::Error::other)?;
        let interrupt = Arc::new(Interrupt::new()?);
        Ok(Self {
            transport: Transport::new(Box::new(device), memory.clone(), interrupt),
            memory,
            host: host.into_iter().map(Some).collect(),
            queues: u32::try_from(queues).map_err(io::Error::other)?,
            offered: vec![0; queues],
            looks: LOOKS,
        })
    }

    /// Does all that a guest and its host can.
    pub(super) fn run(mut self, mut input: Input<'_>) {
        for _ in 0..STEPS {
            if input.is_empty() {
                break;
            }
            match input.byte() % 12 {
                0 => self.write_register(&mut input),
                1 => self.access(&mut input),
                2 => self.write_memory(&mut input),
                3 => self.start(&mut input),
                4 => self.describe(&mut input),
                5 | 6 => self.offer_chain(&mut input),
                7 => {
                    let queue = self.queue(&mut input);
                    let head = input.half();
                    self.offer(queue, head);
                }
                8 | 9 => self.process(),
                10 => self.host_acts(&mut input),
                _ => self.reset(),
            }
        }
        self.rest();
    }

    /// Uses registers and rings only.
    pub(super) fn run_registers(mut self, mut input: Input<'_>) {
        for _ in 0..STEPS {
            if input.is_empty() {
                break;
            }
            match input.byte() % 8 {
                0..=3 => self.write_register(&mut input),
                4 => self.access(&mut input),
                5 => self.write_memory(&mut input),
                6 => self.process(),
                _ => self.reset(),
            }
        }
        self.rest();
    }

    fn rest(&mut self) {
        for _ in 0..LAST_TURNS {
            if self.transport.process() != Progress::More {
                break;
            }
        }
        self.reset();
    }

    fn write(&mut self, register: u64, value: u32) {
        if self.transport.write(register, &value.to_le_bytes()) {
            self.process();
        }
    }

    fn read(&self, register: u64) -> u32 {
        let mut data = [0; 4];
        self.transport.read(register, &mut data);
        u32::from_le_bytes(data)
    }

    fn write_register(&mut self, input: &mut Input<'_>) {
        let register = WRITABLE
            .get(usize::from(input.byte()) % WRITABLE.len())
            .copied();
        let value = match input.byte() {
            value @ 0..=0xef => value.into(),
            0xf0..=0xf7 => u32::from(input.half()) << 4,
            _ => input.word(),
        };
        self.write(register.unwrap_or_default(), value);
    }

    /// Reads or writes anywhere, of any width.
    fn access(&mut self, input: &mut Input<'_>) {
        let offset = u64::from(input.half() % 0x1000);
        let kind = input.byte();
        let width = 1 << (kind >> 1 & 3);
        let mut data = input.long().to_le_bytes();
        let Some(data) = data.get_mut(..width) else {
            return;
        };
        if kind & 1 == 0 {
            self.transport.read(offset, data);
        } else if self.transport.write(offset, data) {
            self.process();
        }
    }

    fn write_memory(&mut self, input: &mut Input<'_>) {
        let address = u64::from(input.word()) % MEMORY;
        let length = input.byte().into();
        self.put(address, input.slice(length));
    }

    /// Memory ends where it ends: what would be behind is left out.
    fn put(&self, address: u64, bytes: &[u8]) {
        let _ = self.memory.write(bytes, GuestAddress(address));
    }

    /// Begins as a driver should, but with any features, and perhaps with a queue left out.
    fn start(&mut self, input: &mut Input<'_>) {
        let without = input.byte();
        let features = input.long() | VERSION_1;
        self.reset();
        self.write(STATUS, 1);
        self.write(STATUS, 3);
        let offered: u64 = [0, 1].into_iter().fold(0, |features, select| {
            self.write(0x14, select);
            features | u64::from(self.read(0x10)) << (32 * select)
        });
        for select in 0..2 {
            self.write(0x24, select);
            let half = (features & offered) >> (32 * select) & 0xffff_ffff;
            self.write(0x20, u32::try_from(half).unwrap_or(0));
        }
        self.write(STATUS, 11);
        assert_eq!(self.read(STATUS), 11, "offered features were refused");
        for queue in 0..self.queues {
            if u32::from(without) == queue + 1 {
                continue;
            }
            self.write(0x30, queue);
            let size = self.read(0x34);
            self.write(0x38, size);
            let base = RING_SPACE * u64::from(queue);
            for (register, address) in [(0x80, base), (0x90, base + 0x1000), (0xa0, base + 0x1400)]
            {
                self.write(register, u32::try_from(address).unwrap_or(0));
                self.write(register + 4, 0);
                self.put(address, &[0; 6]);
            }
            self.write(0x44, 1);
        }
        self.offered.fill(0);
        self.write(STATUS, 15);
        let status = self.read(STATUS);
        assert!(
            status == 15 || without != 0 && status & 0x40 != 0,
            "a driver by the book was refused: {status:#x}"
        );
    }

    fn queue(&self, input: &mut Input<'_>) -> u32 {
        u32::from(input.byte()) % self.queues
    }

    /// Any descriptor.
    fn describe(&mut self, input: &mut Input<'_>) {
        let queue = self.queue(input);
        let index = input.byte();
        let address = match input.byte() {
            kind @ 0..=0xef => DATA + u64::from(kind) * 0x200,
            0xf0..=0xf7 => u64::from(input.word()),
            _ => input.long(),
        };
        let length = match input.byte() {
            length @ 0..=0xbf => length.into(),
            0xc0..=0xf7 => input.half().into(),
            _ => input.word(),
        };
        let (flags, next) = (input.byte().into(), input.byte().into());
        self.put_descriptor(queue, index.into(), (address, length, flags, next));
    }

    fn put_descriptor(
        &self,
        queue: u32,
        index: u16,
        (address, length, flags, next): (u64, u32, u16, u16),
    ) {
        let mut bytes = [0; 16];
        let (start, rest) = bytes.split_at_mut(8);
        start.copy_from_slice(&address.to_le_bytes());
        let (middle, end) = rest.split_at_mut(4);
        middle.copy_from_slice(&length.to_le_bytes());
        let (first, last) = end.split_at_mut(2);
        first.copy_from_slice(&flags.to_le_bytes());
        last.copy_from_slice(&next.to_le_bytes());
        let table = RING_SPACE * u64::from(queue);
        self.put(table + u64::from(index) * 16, &bytes);
    }

    /// A chain as it should be: contents of the first buffer, readable buffers, writable ones.
    fn offer_chain(&mut self, input: &mut Input<'_>) {
        let queue = self.queue(input);
        let first = u16::from(input.byte() % 16);
        let shape = input.byte();
        let (readable, writable) = (u16::from(shape & 3), u16::from(shape >> 2 & 3));
        let start = DATA + u64::from(first) * 0x200;
        let length = usize::from(input.byte() % 48);
        self.put(start, input.slice(length));
        for number in 0..readable + writable {
            let kind = u32::from(input.byte());
            // Lengths that fit what the devices expect, or any.
            let length = match kind {
                0x00..=0x3f => 16,
                0x40..=0x7f => 512,
                0x80..=0x9f => 1,
                0xa0..=0xdf => kind,
                _ => u32::from(input.half()),
            };
            let write = if number < readable { 0 } else { 2 };
            let next = if number + 1 < readable + writable {
                1
            } else {
                0
            };
            let address = start + u64::from(number) * 0x1000;
            let index = first + number;
            self.put_descriptor(queue, index, (address, length, write | next, index + 1));
        }
        self.offer(queue, first);
    }

    fn offer(&mut self, queue: u32, head: u16) {
        let Some(offered) = usize::try_from(queue)
            .ok()
            .and_then(|queue| self.offered.get_mut(queue))
        else {
            return;
        };
        let place = u64::from(*offered);
        *offered = offered.wrapping_add(1);
        let index = *offered;
        // All queues by the book have sizes that divide this.
        self.transport.write(0x30, &queue.to_le_bytes());
        let size = u64::from(self.read(0x34).max(1));
        let available = RING_SPACE * u64::from(queue) + 0x1000;
        self.put(available + 4 + place % size * 2, &head.to_le_bytes());
        self.put(available + 2, &index.to_le_bytes());
    }

    fn process(&mut self) {
        let _ = self.transport.process();
    }

    fn host_acts(&mut self, input: &mut Input<'_>) {
        let action = input.byte();
        let stream = usize::from(action >> 4);
        if let Some(end) = self.host.get_mut(stream) {
            match (action & 3, &mut *end) {
                (0, Some(end)) => {
                    let length = usize::from(input.byte()) * 16;
                    let _ = end.write(&vec![0x41; length]);
                }
                (1, Some(end)) => {
                    let _ = end.read(&mut [0; 4096]);
                }
                (2, Some(end)) => {
                    let _ = end.shutdown(std::net::Shutdown::Write);
                }
                _ => *end = None,
            }
        }
        let ready = HostReady {
            readable: action & 4 != 0,
            writable: action & 8 != 0,
            closed: self.host.get(stream).is_some_and(Option::is_none),
        };
        self.transport.host_ready(stream, ready);
        self.process();
    }

    /// After a reset the guest's memory is its own.
    fn reset(&mut self) {
        self.write(STATUS, 0);
        assert_eq!(self.read(STATUS), 0);
        self.offered.fill(0);
        // Looking takes long, and inputs of nothing but resets are common.
        let Some(left) = self.looks.checked_sub(1) else {
            return;
        };
        self.looks = left;
        let before = self.contents();
        assert_eq!(self.transport.process(), Progress::Idle);
        assert!(
            before == self.contents(),
            "memory was written after a reset"
        );
    }

    fn contents(&self) -> Vec<u8> {
        let mut contents = vec![0; usize::try_from(MEMORY).unwrap_or(0)];
        let _ = self.memory.read(&mut contents, GuestAddress(0));
        contents
    }
}
