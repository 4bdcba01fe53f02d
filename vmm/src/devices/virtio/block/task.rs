//! A request under way.

use std::io;

use virtio_bindings::virtio_blk::VIRTIO_BLK_S_IOERR;

use super::super::queue::{part, total};
use super::super::{Chain, DeviceQueue, QueueError, Segment};
use super::engine::{Action, Buffers, Operation, Target};
use super::image::Overlay;
use super::request::{Outcome, Plan, Range, Request};
use super::{BlockDisk, PAGE};
use crate::memory::GuestRam;

/// What a step may use of the time that the device has before others get their turn, in bytes that
/// could be copied meanwhile.
#[derive(Debug)]
pub(super) struct Budget(u64);

impl Budget {
    pub(super) fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    pub(super) fn is_spent(&self) -> bool {
        self.0 == 0
    }

    /// Bytes that may be copied now: whole pages, and one at least.
    fn room(&self) -> u64 {
        (self.0 / PAGE).max(1) * PAGE
    }

    pub(super) fn spend(&mut self, bytes: u64) {
        self.0 = self.0.saturating_sub(bytes);
    }
}

/// A request, as far as it has come.
#[derive(Debug)]
pub(super) struct Task {
    chain: Chain,
    request: Request,
    plan: Plan,
    size: u64,
    /// Bytes that were moved, or ranges that were freed.
    done: u64,
}

/// What comes next for a request.
#[derive(Debug)]
pub(super) enum Step {
    /// It is over.
    Finished(Outcome),
    /// This must be done first.
    Wait(Operation),
    /// The device has had its turn.
    Later,
}

impl Task {
    pub(super) fn new(
        memory: &GuestRam,
        chain: Chain,
        disk: &BlockDisk,
    ) -> Result<Self, QueueError> {
        let request = Request::parse(memory, &chain)?;
        let plan = request.plan(memory, disk);
        let size = match plan {
            Plan::Read { length, .. } | Plan::Write { length, .. } => length,
            Plan::Free { ref ranges, .. } => ranges.iter().map(Range::cost).sum(),
            Plan::Done(_) => 0,
        };
        Ok(Self {
            chain,
            request,
            plan,
            size,
            done: 0,
        })
    }

    /// Bytes that the request moves if it succeeds, or that could be moved meanwhile.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Goes on until the request is over, has to wait for a file, or the budget is spent.
    pub(super) fn step(
        &mut self,
        memory: &GuestRam,
        disk: &mut BlockDisk,
        budget: &mut Budget,
    ) -> Step {
        budget.spend(PAGE);
        loop {
            let (end, outcome) = match &self.plan {
                Plan::Done(outcome) => return Step::Finished(*outcome),
                Plan::Read { length, .. } => (*length, total(&self.request.input)),
                Plan::Write { length, .. } => (*length, 0),
                Plan::Free { ranges, .. } => (bytes(ranges.len()), 0),
            };
            if self.done >= end {
                return Step::Finished(Ok(outcome));
            }
            if budget.is_spent() {
                return Step::Later;
            }
            match self.piece(memory, disk, budget) {
                Ok(Some(operation)) => return Step::Wait(operation),
                Ok(None) => {}
                Err(_) => return Step::Finished(Err(VIRTIO_BLK_S_IOERR)),
            }
        }
    }

    /// Takes in what came of the operation that it waited for. After an error, the request is over.
    pub(super) fn completed(&mut self, result: io::Result<usize>, disk: &mut BlockDisk) {
        let moved = match result {
            Ok(moved) => moved,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            Err(_) => return self.plan = Plan::Done(Err(VIRTIO_BLK_S_IOERR)),
        };
        match &self.plan {
            Plan::Done(_) => {}
            Plan::Read { .. } | Plan::Write { .. } if moved == 0 => {
                // The file ends too early.
                self.plan = Plan::Done(Err(VIRTIO_BLK_S_IOERR));
            }
            Plan::Read { .. } => self.done += bytes(moved),
            &Plan::Write { offset, length } => {
                self.done += bytes(moved);
                if self.done >= length {
                    disk.image.mark(offset, length, true);
                }
            }
            Plan::Free { ranges, zero } => {
                if let Some(range) = at(ranges, self.done) {
                    disk.image.mark(range.offset, range.length, *zero);
                }
                self.done += 1;
            }
        }
    }

    /// Gives the request back to the driver.
    pub(super) fn finish(
        self,
        memory: &GuestRam,
        queue: &mut DeviceQueue,
        outcome: Outcome,
    ) -> Result<(), QueueError> {
        let written = self.request.answer(memory, outcome)?;
        queue.finish(&self.chain, written)
    }

    /// Goes on with the next piece, or says what has to be waited for.
    fn piece(
        &mut self,
        memory: &GuestRam,
        disk: &mut BlockDisk,
        budget: &mut Budget,
    ) -> io::Result<Option<Operation>> {
        match &self.plan {
            Plan::Done(_) => Ok(None),
            &Plan::Read { offset, length } => self.read(memory, disk, budget, offset, length),
            &Plan::Write { offset, length } => self.write(memory, disk, budget, offset, length),
            Plan::Free { ranges, zero } => free(ranges, *zero, &mut self.done, disk, budget),
        }
    }

    fn read(
        &mut self,
        memory: &GuestRam,
        disk: &BlockDisk,
        budget: &mut Budget,
        offset: u64,
        length: u64,
    ) -> io::Result<Option<Operation>> {
        let place = offset + self.done;
        let most = (length - self.done).min(budget.room());
        let run = disk.image.run(place, most);
        // However short it is, it is copied or asked for by itself.
        budget.spend(run.length.max(PAGE));
        let segments = section(&self.request.input, self.done, run.length)?;
        let target = match &disk.image.overlay {
            Overlay::Memory(mapping) if run.private => {
                mapping.read(memory, &segments, place)?;
                self.done += run.length;
                return Ok(None);
            }
            Overlay::File(_) if run.private => Target::Scratch,
            _ => Target::Base,
        };
        let action = Action::Read(Buffers::new(memory, &segments)?);
        Ok(Some(Operation {
            target,
            action,
            offset: place,
        }))
    }

    fn write(
        &mut self,
        memory: &GuestRam,
        disk: &mut BlockDisk,
        budget: &mut Budget,
        offset: u64,
        length: u64,
    ) -> io::Result<Option<Operation>> {
        let place = offset + self.done;
        let now = (length - self.done).min(budget.room());
        budget.spend(now);
        let segments = section(&self.request.output, self.done, now)?;
        match &disk.image.overlay {
            Overlay::None => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            Overlay::Memory(mapping) => {
                mapping.write(memory, &segments, place)?;
                self.completed(usize::try_from(now).map_err(io::Error::other), disk);
                Ok(None)
            }
            Overlay::File(_) => Ok(Some(Operation {
                target: Target::Scratch,
                action: Action::Write(Buffers::new(memory, &segments)?),
                offset: place,
            })),
        }
    }
}

/// Frees the next range, unless that has to wait for the file.
fn free(
    ranges: &[Range],
    zero: bool,
    done: &mut u64,
    disk: &mut BlockDisk,
    budget: &mut Budget,
) -> io::Result<Option<Operation>> {
    let Some(range) = at(ranges, *done) else {
        return Ok(None);
    };
    budget.spend(range.cost());
    if range.length > 0 {
        match &disk.image.overlay {
            Overlay::None => return Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            Overlay::Memory(mapping) if zero => mapping.zero(range.offset, range.end())?,
            Overlay::Memory(mapping) => mapping.discard(range.offset, range.end())?,
            Overlay::File(_) => {
                return Ok(Some(Operation {
                    target: Target::Scratch,
                    action: Action::Punch(range.length),
                    offset: range.offset,
                }));
            }
        }
        disk.image.mark(range.offset, range.length, zero);
    }
    *done += 1;
    Ok(None)
}

fn at(ranges: &[Range], done: u64) -> Option<&Range> {
    ranges.get(usize::try_from(done).ok()?)
}

/// A section of a request's memory.
fn section(segments: &[Segment], start: u64, length: u64) -> io::Result<Vec<Segment>> {
    let start = usize::try_from(start).map_err(io::Error::other)?;
    let length = usize::try_from(length).map_err(io::Error::other)?;
    Ok(part(segments, start, length))
}

pub(super) fn bytes(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
