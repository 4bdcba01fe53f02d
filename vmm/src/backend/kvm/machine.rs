//! A running machine: its threads, and what they share.

use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex};

use kvm_ioctls::{VcpuFd, VmFd};

use super::counters::VcpuCounters;
use super::lifecycle::{Lifecycle, PanicGuard};
use super::sandbox::Sandbox;
use super::vcpu;
use crate::backend::VmExit;
use crate::backend::timeline::Timeline;
use crate::devices::bus::Bus;
use crate::devices::event_loop::EventLoop;
use crate::devices::platform::PlatformDevices;
use crate::devices::virtio::Confine;
use crate::memory::{self, GuestRam};
use crate::signals;
use crate::stats::{DeviceStats, ExitCounters, Stats};
use crate::thread::{self, Thread};

/// A machine on KVM, in this process. Dropped, it stops.
#[derive(Debug)]
pub(super) struct KvmMachine {
    threads: Vec<Thread<()>>,
    lifecycle: Arc<Lifecycle>,
    parts: Arc<Parts>,
}

/// All that the machine's threads use.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) bus: Bus,
    pub(super) platform: Mutex<PlatformDevices>,
    pub(super) sandbox: Arc<Sandbox>,
    pub(super) exits: ExitCounters,
    pub(super) counters: Vec<VcpuCounters>,
    pub(super) timeline: Arc<Timeline>,
    // After the devices, which refer to both; and memory after the machine that it is mapped into.
    pub(super) _vm: VmFd,
    pub(super) memory: GuestRam,
}

impl KvmMachine {
    /// Starts the machine's threads, and returns when each is confined.
    pub(super) fn start(
        parts: Parts,
        vcpus: Vec<VcpuFd>,
        lifecycle: Arc<Lifecycle>,
    ) -> io::Result<Self> {
        let parts = Arc::new(parts);
        // From here on, dropping it ends what has been started.
        let mut machine = Self {
            threads: Vec::with_capacity(vcpus.len() + 1),
            lifecycle,
            parts: Arc::clone(&parts),
        };
        {
            let (parts, lifecycle) = (Arc::clone(&parts), Arc::clone(&machine.lifecycle));
            let devices = thread::spawn("devices", move || run_devices(&parts, lifecycle))?;
            machine.threads.push(devices);
        }
        for (index, vcpu) in (0..).zip(vcpus) {
            let (parts, lifecycle) = (Arc::clone(&parts), Arc::clone(&machine.lifecycle));
            let vcpu = thread::spawn(&format!("vcpu{index}"), move || {
                vcpu::run(index, vcpu, &parts, &lifecycle);
            })?;
            machine.threads.push(vcpu);
        }
        machine.lifecycle.gate().wait_for_all();
        Ok(machine)
    }

    /// Lets the vCPUs run the guest's first instruction.
    pub(super) fn enter_guest(&self) {
        self.lifecycle.gate().open();
    }

    /// Becomes readable when the machine has stopped by itself.
    pub(super) fn stopped(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as `self`.
        unsafe { BorrowedFd::borrow_raw(self.lifecycle.stopped().as_raw_fd()) }
    }

    /// Why the machine stopped by itself; `None` while it runs.
    pub(super) fn exit(&self) -> Option<VmExit> {
        self.lifecycle.exit()
    }

    /// What the machine did so far.
    pub(super) fn stats(&self) -> Stats {
        let mut kvm = BTreeMap::new();
        for counters in &self.parts.counters {
            // Numbers that cannot be read are left out.
            let _ = counters.add_to(&mut kvm);
        }
        let devices = self.parts.bus.devices().iter();
        let devices: Vec<_> = devices.map(|device| device.transport().stats()).collect();
        let peak = peak_memory();
        let guest = memory::resident(&self.parts.memory).ok();
        Stats {
            exits: self.parts.exits.read(),
            exit_time: self.parts.exits.time(),
            kvm,
            // At the peak, the guest may have had what it has given back since.
            vmm_memory_peak: guest
                .zip(peak)
                .filter(|_| !devices.iter().any(DeviceStats::gave_memory_back))
                .map(|(guest, peak)| peak.saturating_sub(guest)),
            devices,
            guest_memory: guest,
            memory_peak: peak,
        }
    }
}

impl Drop for KvmMachine {
    fn drop(&mut self) {
        self.lifecycle.end(None);
        for thread in self.threads.drain(..) {
            // A panic has been reported by the thread's guard.
            let _ = thread.join();
        }
    }
}

/// The most memory that this process had at once, in bytes.
fn peak_memory() -> Option<u64> {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: getrusage fills in what it is given, or fails.
    if unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: it is filled in.
    let kib = unsafe { usage.assume_init() }.ru_maxrss;
    u64::try_from(kib).ok()?.checked_mul(1024)
}

fn run_devices(parts: &Parts, lifecycle: Arc<Lifecycle>) {
    let _settle = Settle(&lifecycle);
    let _guard = PanicGuard {
        lifecycle: &lifecycle,
        thread: "device",
    };
    let result = signals::block_all()
        .and_then(|()| prepare(parts, &lifecycle))
        .and_then(|threads| {
            let mut events = EventLoop::new(&parts.bus, lifecycle.stop())?;
            parts.sandbox.enter_devices()?;
            lifecycle.gate().devices_confined(threads);
            events.run()?;
            events.drain();
            Ok(())
        });
    if let Err(error) = result {
        let message = format!("The machine's devices failed: {error}");
        lifecycle.end(Some(VmExit::Broken(message)));
    }
}

/// Gets ready what works for the devices beside their thread, confined as it will be: so many threads.
fn prepare(parts: &Parts, lifecycle: &Arc<Lifecycle>) -> io::Result<usize> {
    let (sandbox, theirs) = (Arc::clone(&parts.sandbox), Arc::clone(lifecycle));
    let confine: Arc<Confine> = Arc::new(move || {
        let _guard = PanicGuard {
            lifecycle: &theirs,
            thread: "disk",
        };
        let confined = signals::block_all().and_then(|()| sandbox.enter_devices());
        match &confined {
            Ok(()) => theirs.gate().confined(),
            Err(error) => {
                let message = format!("Cannot confine a disk's thread: {error}");
                theirs.end(Some(VmExit::Broken(message)));
            }
        }
        confined
    });
    let mut devices = parts.bus.devices().iter();
    devices.try_fold(0, |threads, device| {
        Ok(threads + device.transport().prepare(&confine)?)
    })
}

/// Lets the owner know of the machine's end when the devices' thread ends, however it does.
struct Settle<'a>(&'a Lifecycle);

impl Drop for Settle<'_> {
    fn drop(&mut self) {
        self.0.settle();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::backend::kvm::testing;
    use crate::config::Arch;

    #[test]
    fn no_instruction_runs_before_the_guest_is_entered() {
        if Arch::HOST != Arch::X86_64 {
            eprintln!("not tested here: a vCPU that nobody has set up may do nothing that is seen");
            return;
        }
        let Some(kvm) = testing::kvm() else {
            return;
        };
        let timeline = Arc::new(Timeline::new().unwrap());
        let (parts, vcpus) = testing::parts(&kvm, Vec::new(), 1, timeline);
        let lifecycle = Arc::new(Lifecycle::new(1).unwrap());
        let machine = KvmMachine::start(parts, vcpus, lifecycle).unwrap();
        // A vCPU that nobody has set up begins where there is no memory, so it leaves the guest at once.
        let has_run = || machine.stats().exits.values().any(|&n| n > 0) || machine.exit().is_some();
        thread::sleep(Duration::from_millis(200));
        assert!(!has_run());
        machine.enter_guest();
        let begun = Instant::now();
        while !has_run() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it does not run");
            thread::sleep(Duration::from_millis(10));
        }
    }
}
