//! Block device (virtio 1.2, section 5.2).

mod engine;
mod image;
mod mapping;
mod request;
mod scratch;
mod sectors;
mod task;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX,
    VIRTIO_BLK_F_WRITE_ZEROES,
};

use vmm_sys_util::eventfd::EventFd;

use super::{
    Activation, Confine, DeviceQueue, HostReady, HostStream, Interrupt, Progress, QueueError,
    VirtioDevice,
};
use crate::backend::StartError;
use crate::config::{Disk, Writes};
use crate::memory::GuestRam;
use engine::{DEPTH, Engine, Kind};
use image::{Image, OpenError, Overlay};
use task::{Budget, Step, Task, bytes};

const DEVICE_ID: u32 = 2;
const QUEUE_SIZE: u16 = 256;

/// Segments of a request: what fits the queue beside header and status.
const MAX_SEGMENTS: u32 = 254;
/// Largest range of one discard or write-zeroes command, in sectors: 256 MiB, which the host frees in
/// some milliseconds.
const MAX_RANGE: u32 = 1 << 19;
/// Ranges of one such command.
const MAX_RANGES: u32 = 16;
/// Discarded ranges should begin and end at multiples of so many sectors: what the host can free.
const DISCARD_ALIGNMENT: u32 = 8;

/// Bytes that are copied before other devices get their turn, and before the thread looks whether the
/// machine stops.
const TURN: u64 = 8 << 20;
/// Bytes that could be copied while one descriptor is read and taken apart.
const DESCRIPTOR: usize = 64;
/// Bytes of requests under way above which no more are taken: a reset has to wait for all of them.
const MAX_UNDER_WAY: u64 = 64 << 20;

/// Bytes of a sector, the unit of addresses.
const SECTOR: u64 = 512;
const PAGE: u64 = 4096;

/// The device.
#[derive(Debug)]
pub(crate) struct Block {
    // Before the files and the memory that it works on.
    engine: Option<Engine>,
    engine_kind: Kind,
    /// The engine has done something.
    event: Arc<EventFd>,
    tasks: Tasks,
    disk: BlockDisk,
    config: Vec<u8>,
    active: Option<Activation>,
}

/// What requests work on.
#[derive(Debug)]
struct BlockDisk {
    image: Image,
    read_only: bool,
    can_free: bool,
    /// The serial number, NUL-padded.
    serial: [u8; 20],
}

/// Requests under way, by the numbers that the engine knows them by.
#[derive(Debug)]
struct Tasks {
    slots: Vec<Option<Task>>,
    free: Vec<usize>,
    /// Those that wait for the device's next turn, and not for the engine.
    later: VecDeque<usize>,
    /// Of all of them.
    bytes: u64,
}

impl Tasks {
    fn new() -> Self {
        Self {
            slots: (0..DEPTH).map(|_| None).collect(),
            free: (0..DEPTH).collect(),
            later: VecDeque::new(),
            bytes: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.free.is_empty() || self.bytes >= MAX_UNDER_WAY
    }

    fn add(&mut self, task: Task) -> Option<usize> {
        let number = self.free.pop()?;
        self.bytes += task.size();
        *self.slots.get_mut(number)? = Some(task);
        Some(number)
    }

    fn get(&mut self, number: usize) -> Option<&mut Task> {
        self.slots.get_mut(number)?.as_mut()
    }

    fn remove(&mut self, number: usize) -> Option<Task> {
        let task = self.slots.get_mut(number)?.take()?;
        self.bytes -= task.size();
        self.free.push(number);
        Some(task)
    }
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
        let image = Image::open(&disk.path, &disk.writes).map_err(|error| match error {
            OpenError::Base(source) => StartError::Host {
                what: format!("Cannot open the disk {name}"),
                source,
            },
            OpenError::Scratch(source) => StartError::Host {
                what: format!(
                    "Cannot make a file for the writes to the disk {name}{}",
                    place(disk)
                ),
                source,
            },
        })?;
        if image.size() == 0 || !image.size().is_multiple_of(SECTOR) {
            return Err(StartError::Config(format!(
                "The disk {name} has {} bytes, not a whole number of {SECTOR}-byte sectors",
                image.size()
            )));
        }
        let event = Engine::event().map_err(|source| StartError::Host {
            what: format!("Cannot watch the disk {name}"),
            source,
        })?;
        let can_free = image.can_free();
        Ok(Self {
            engine: None,
            engine_kind: Kind::Any,
            event,
            tasks: Tasks::new(),
            config: config(image.size() / SECTOR, can_free),
            disk: BlockDisk {
                image,
                read_only,
                can_free,
                serial,
            },
            active: None,
        })
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl Block {
    /// The same as on a host that forbids `io_uring`.
    pub(crate) fn on_threads(mut self) -> Self {
        self.engine_kind = Kind::Threads;
        self
    }
}

/// Where a disk's writes go, for messages.
fn place(disk: &Disk) -> String {
    match &disk.writes {
        Writes::Refused | Writes::InMemory => String::new(),
        Writes::InFile { folder } => format!(" in {}", folder.display()),
    }
}

impl VirtioDevice for Block {
    fn id(&self) -> u32 {
        DEVICE_ID
    }

    fn features(&self) -> u64 {
        let access = if self.disk.read_only {
            1 << VIRTIO_BLK_F_RO
        } else if self.disk.can_free {
            1 << VIRTIO_BLK_F_DISCARD | 1 << VIRTIO_BLK_F_WRITE_ZEROES
        } else {
            0
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
        if let Some(engine) = &mut self.engine {
            engine.drain(|(number, result)| {
                if let Some(task) = self.tasks.get(number) {
                    task.completed(result, &mut self.disk);
                }
            });
        }
        self.tasks = Tasks::new();
        self.active = None;
    }

    fn prepare(&mut self, confine: &Arc<Confine>) -> io::Result<usize> {
        let scratch = match &self.disk.image.overlay {
            Overlay::File(file) => Some(file),
            Overlay::None | Overlay::Memory(_) => None,
        };
        let base = &self.disk.image.base;
        let event = Arc::clone(&self.event);
        let engine = Engine::new(self.engine_kind, base, scratch, event, confine)?;
        Ok(self.engine.insert(engine).threads())
    }

    fn host_streams(&self) -> Vec<HostStream<'_>> {
        vec![HostStream {
            // SAFETY: the descriptor is open as long as `self`.
            fd: unsafe { BorrowedFd::borrow_raw(self.event.as_raw_fd()) },
            // It always can be, which is news each time that it was read.
            writable: false,
        }]
    }

    fn host_ready(&mut self, _stream: usize, _ready: HostReady) {
        if let Some(engine) = &self.engine {
            engine.acknowledge();
        }
    }

    fn is_patient(&self) -> bool {
        true
    }

    fn process(&mut self) -> Result<Progress, QueueError> {
        let (Some(active), Some(engine)) = (&mut self.active, &mut self.engine) else {
            return Ok(Progress::Idle);
        };
        let Some((queue, memory, interrupt)) = active.queue(0) else {
            return Ok(Progress::Idle);
        };
        let mut turn = Turn {
            queue,
            memory,
            engine,
            tasks: &mut self.tasks,
            disk: &mut self.disk,
            budget: Budget::new(TURN),
        };
        let progress = turn.run(interrupt);
        // However it ended, what was begun goes on: other threads may not let the host begin with it.
        turn.engine.submit();
        progress
    }
}

/// Some of the device's work, with all that it takes.
struct Turn<'a> {
    queue: &'a mut DeviceQueue,
    memory: &'a GuestRam,
    engine: &'a mut Engine,
    tasks: &'a mut Tasks,
    disk: &'a mut BlockDisk,
    budget: Budget,
}

/// Why no more requests are taken.
enum Taken {
    /// There are none.
    All,
    /// Enough are under way, or enough was done.
    Full,
}

impl Turn<'_> {
    /// Works until there is nothing to do, or others should get their turn.
    fn run(&mut self, interrupt: &Interrupt) -> Result<Progress, QueueError> {
        loop {
            self.resume()?;
            let taken = self.take()?;
            self.engine.submit();
            let moved = self.collect()?;
            self.queue.notify(interrupt)?;
            match taken {
                _ if self.budget.is_spent() => return Ok(Progress::More),
                _ if moved => {}
                Taken::All if self.queue.wait()? => {}
                // What is under way says when it is done.
                Taken::All | Taken::Full => return Ok(Progress::Idle),
            }
        }
    }

    /// Goes on with the requests that the last turn was too short for.
    fn resume(&mut self) -> Result<(), QueueError> {
        while !self.budget.is_spent()
            && let Some(number) = self.tasks.later.pop_front()
        {
            self.advance(number)?;
        }
        Ok(())
    }

    /// Takes requests and begins with them.
    fn take(&mut self) -> Result<Taken, QueueError> {
        while !self.tasks.is_full() && !self.budget.is_spent() {
            let Some(chain) = self.queue.pop()? else {
                return Ok(Taken::All);
            };
            let descriptors = chain.readable.len() + chain.writable.len();
            self.budget.spend(bytes(descriptors * DESCRIPTOR));
            let task = Task::new(self.memory, chain, self.disk)?;
            if let Some(number) = self.tasks.add(task) {
                self.advance(number)?;
            }
        }
        Ok(Taken::Full)
    }

    /// Goes on with the requests whose operations are done. False if there were none.
    fn collect(&mut self) -> Result<bool, QueueError> {
        let mut moved = false;
        while let Some((number, result)) = self.engine.next() {
            moved = true;
            if let Some(task) = self.tasks.get(number) {
                task.completed(result, self.disk);
                self.advance(number)?;
            }
        }
        Ok(moved)
    }

    /// Goes on with a request until it is over, has to wait for a file, or the turn is. What the host has of a file
    /// in its memory is read on the way.
    fn advance(&mut self, number: usize) -> Result<(), QueueError> {
        let Some(task) = self.tasks.get(number) else {
            return Ok(());
        };
        loop {
            match task.step(self.memory, self.disk, &mut self.budget) {
                Step::Finished(outcome) => {
                    if let Some(task) = self.tasks.remove(number) {
                        task.finish(self.memory, self.queue, outcome)?;
                    }
                }
                Step::Later => self.tasks.later.push_back(number),
                Step::Wait(operation) => {
                    if let Some(moved) = self.engine.read_now(&operation) {
                        task.completed(Ok(moved), self.disk);
                        continue;
                    }
                    self.engine.push(number, operation);
                }
            }
            return Ok(());
        }
    }
}

/// `struct virtio_blk_config`.
fn config(sectors: u64, can_free: bool) -> Vec<u8> {
    let mut config = vec![0; 60];
    let mut put = |offset: usize, bytes: &[u8]| {
        for (to, from) in config.iter_mut().skip(offset).zip(bytes) {
            *to = *from;
        }
    };
    put(0, &sectors.to_le_bytes());
    put(12, &MAX_SEGMENTS.to_le_bytes());
    if can_free {
        put(36, &MAX_RANGE.to_le_bytes()); // max_discard_sectors
        put(40, &MAX_RANGES.to_le_bytes()); // max_discard_seg
        put(44, &DISCARD_ALIGNMENT.to_le_bytes()); // discard_sector_alignment
        put(48, &MAX_RANGE.to_le_bytes()); // max_write_zeroes_sectors
        put(52, &MAX_RANGES.to_le_bytes()); // max_write_zeroes_seg
        put(56, &[1]); // write_zeroes_may_unmap
    }
    config
}
