//! When the steps of a machine's start were done.
//!
//! The machine's process writes the times to memory that it shares with its owner, which costs next to
//! nothing and is always done. A guest that has taken the process over can write other numbers there,
//! and nothing but numbers.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use vm_memory::{Bytes, MmapRegion, VolatileMemory};

/// A step, in the order in which they are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The machine's process runs; one of another program is about to execute that.
    Process,
    /// Disks are open and the other devices made.
    Opened,
    /// The guest's memory is there.
    Memory,
    /// Kernel and initramfs are in it.
    Kernel,
    /// KVM has made the virtual machine, beside the two steps before.
    Vm,
    /// vCPUs and interrupt controllers are there, and the machine is described to the kernel.
    Vcpus,
    /// Devices are connected.
    Devices,
    /// The process has given up what it does not need.
    Confinement,
    /// The first vCPU's thread is about to enter the guest.
    Entry,
}

/// The steps with their names for people: what was done until then.
const STEPS: [(Step, &str); 9] = [
    (Step::Process, "machine process"),
    (Step::Opened, "disk open"),
    (Step::Memory, "guest memory"),
    (Step::Kernel, "kernel load"),
    (Step::Vm, "VM creation"),
    (Step::Vcpus, "vCPU setup"),
    (Step::Devices, "devices"),
    (Step::Confinement, "confinement"),
    (Step::Entry, "first entry"),
];

const SLOT: usize = size_of::<u64>();

/// The times, shared with processes that are forked from this one.
#[derive(Debug)]
pub(crate) struct Timeline(MmapRegion);

impl Timeline {
    pub(crate) fn new() -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let region = MmapRegion::build(None, STEPS.len() * SLOT, access, kind);
        region.map(Self).map_err(io::Error::other)
    }

    /// Notes that a step is done.
    pub(crate) fn mark(&self, step: Step) {
        let now = clock_gettime(ClockId::Monotonic);
        let now = u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000
            + u64::try_from(now.tv_nsec).unwrap_or(0);
        // There is room for all steps.
        let slice = self.0.as_volatile_slice();
        let _ = slice.store(now, step as usize * SLOT, Ordering::Relaxed);
    }

    /// The steps that were done, with the time of `CLOCK_MONOTONIC` then.
    pub(crate) fn read(&self) -> Vec<(&'static str, Duration)> {
        let slice = self.0.as_volatile_slice();
        let time = |step| slice.load::<u64>(step as usize * SLOT, Ordering::Relaxed);
        let done = STEPS.iter().filter_map(|&(step, name)| {
            let time = time(step).ok().filter(|&time| time > 0)?;
            Some((name, Duration::from_nanos(time)))
        });
        done.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::fork;

    #[test]
    fn a_forked_process_tells_when_it_did_what() {
        let timeline = Timeline::new().unwrap();
        timeline.mark(Step::Vm);
        let child = fork::spawn(|| (), |()| timeline.mark(Step::Entry)).unwrap();
        fork::wait(child).unwrap();
        let times = timeline.read();
        let names: Vec<_> = times.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["VM creation", "first entry"]);
        assert!(times[0].1 < times[1].1, "{times:?}");
    }
}
