//! What a machine did, in numbers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// What a machine did so far. A backend that cannot count something leaves it out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// How often a vCPU stopped for something that the VMM had to do, by what that was.
    pub exits: BTreeMap<String, u64>,
    /// Nanoseconds that the vCPUs' threads took for these, from KVM's return until it was entered again.
    pub exit_time: Option<u64>,
    /// KVM's own counters by its names for them, over all vCPUs, without those that are zero. `exits` of
    /// them counts every exit from the guest, the kernel's own included.
    pub kvm: BTreeMap<String, u64>,
    /// The devices, in the order of their slots.
    pub devices: Vec<DeviceStats>,
    /// The guest's memory that the host has given it by now, in bytes.
    pub guest_memory: Option<u64>,
    /// The most memory that the machine's process had at once, the guest's included, in bytes.
    pub memory_peak: Option<u64>,
    /// The same without the guest's memory; not known if the guest has given any back.
    pub vmm_memory_peak: Option<u64>,
}

/// What a device did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStats {
    /// What it is, such as `block`.
    pub name: String,
    /// Requests finished.
    pub operations: u64,
    /// Bytes that these brought from the guest, headers included.
    pub bytes_from_guest: u64,
    /// Bytes that these were answered with.
    pub bytes_to_guest: u64,
}

impl DeviceStats {
    /// Whether this is a balloon through which the guest gave memory back.
    pub(crate) fn gave_memory_back(&self) -> bool {
        self.name == "balloon" && self.operations > 0
    }
}

/// Counts what a device does.
#[derive(Debug, Default)]
pub(crate) struct DeviceCounters {
    operations: AtomicU64,
    bytes_from_guest: AtomicU64,
    bytes_to_guest: AtomicU64,
}

impl DeviceCounters {
    /// A request was finished.
    pub(crate) fn count(&self, from_guest: usize, to_guest: usize) {
        let add = |counter: &AtomicU64, bytes| {
            counter.fetch_add(u64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
        };
        add(&self.operations, 1);
        add(&self.bytes_from_guest, from_guest);
        add(&self.bytes_to_guest, to_guest);
    }

    /// The numbers by now, for a device of this name.
    pub(crate) fn read(&self, name: &str) -> DeviceStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DeviceStats {
            name: name.to_owned(),
            operations: load(&self.operations),
            bytes_from_guest: load(&self.bytes_from_guest),
            bytes_to_guest: load(&self.bytes_to_guest),
        }
    }
}

/// Counts vCPUs' exits to the VMM.
#[derive(Debug, Default)]
pub(crate) struct ExitCounters {
    /// Nanoseconds that all of them took; only counted if there is such a counter, as it costs each some.
    time: Option<AtomicU64>,
    /// For a device's registers.
    pub(crate) mmio: AtomicU64,
    /// For an I/O port.
    pub(crate) port: AtomicU64,
    /// For a signal of the VMM's own.
    pub(crate) interrupted: AtomicU64,
    /// For anything else.
    pub(crate) other: AtomicU64,
}

/// An exit that is answered until this is dropped.
#[derive(Debug)]
pub(crate) struct Timed<'a>(Option<(&'a AtomicU64, Instant)>);

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        if let Some((time, begun)) = self.0 {
            let nanoseconds = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
            time.fetch_add(nanoseconds, Ordering::Relaxed);
        }
    }
}

impl ExitCounters {
    /// Counters of which `timed` says whether exits are timed.
    pub(crate) fn new(timed: bool) -> Self {
        Self {
            time: timed.then(AtomicU64::default),
            ..Self::default()
        }
    }

    /// To be held while an exit is answered.
    pub(crate) fn timed(&self) -> Timed<'_> {
        Timed(self.time.as_ref().map(|time| (time, Instant::now())))
    }

    /// Nanoseconds that all of them took by now, if they are timed.
    pub(crate) fn time(&self) -> Option<u64> {
        let time = self.time.as_ref()?;
        Some(time.load(Ordering::Relaxed))
    }

    /// The numbers by now.
    pub(crate) fn read(&self) -> BTreeMap<String, u64> {
        let counters = [
            ("mmio", &self.mmio),
            ("port", &self.port),
            ("interrupted", &self.interrupted),
            ("other", &self.other),
        ];
        counters
            .into_iter()
            .map(|(name, counter)| (name.to_owned(), counter.load(Ordering::Relaxed)))
            .collect()
    }
}
