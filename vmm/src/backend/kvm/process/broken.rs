//! Machines' processes that break: one whose devices' thread panics, and one that says what it was not asked.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use kvm_ioctls::Kvm;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vmm_sys_util::eventfd::EventFd;

use super::VmmProcess;
use super::channel::{Channel, Report};
use super::child::{Limits, attend, confine, telling_panics};
use crate::backend::kvm::lifecycle::{self, Lifecycle};
use crate::backend::kvm::machine::KvmMachine;
use crate::backend::kvm::{sandbox, testing};
use crate::backend::timeline::Timeline;
use crate::backend::{Machine, VmExit, fork};
use crate::confinement::enter_namespaces;
use crate::devices::virtio::{
    Activation, HostReady, HostStream, Progress, QueueError, VirtioDevice,
};
use crate::stats::Stats;

/// A device with something to do at once, at which it panics.
struct Panics(EventFd);

impl VirtioDevice for Panics {
    fn id(&self) -> u32 {
        0
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> Vec<u16> {
        Vec::new()
    }

    fn config(&self) -> &[u8] {
        &[]
    }

    fn activate(&mut self, _: Activation) {}

    fn reset(&mut self) {}

    fn process(&mut self) -> Result<Progress, QueueError> {
        Ok(Progress::Idle)
    }

    fn host_streams(&self) -> Vec<HostStream<'_>> {
        vec![HostStream {
            // SAFETY: the descriptor is open as long as `self`.
            fd: unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) },
            writable: false,
        }]
    }

    fn host_ready(&mut self, _: usize, _: HostReady) {
        panic!("as it should");
    }
}

/// A machine with nothing but such a device.
fn start(kvm: &Kvm, timeline: Arc<Timeline>) -> KvmMachine {
    let something = EventFd::new(0).unwrap();
    something.write(1).unwrap();
    let (parts, vcpus) = testing::parts(kvm, vec![Box::new(Panics(something))], 0, timeline);
    let lifecycle = Arc::new(Lifecycle::new(0).unwrap());
    KvmMachine::start(parts, vcpus, lifecycle).unwrap()
}

/// Why a machine's process is broken, which it is to be soon.
fn reason(machine: &mut VmmProcess) -> String {
    let limit = Timespec::try_from(Duration::from_secs(20)).unwrap();
    let mut fds = [PollFd::from_borrowed_fd(machine.stopped(), PollFlags::IN)];
    assert_eq!(poll(&mut fds, Some(&limit)).unwrap(), 1, "it hangs");
    let Some(VmExit::Broken(reason)) = machine.exit() else {
        panic!("not broken");
    };
    reason
}

#[test]
fn a_panic_in_the_devices_thread_is_an_error_and_no_hang() {
    let Some(kvm) = testing::kvm() else {
        return;
    };
    let (ours, theirs) = Channel::pair().unwrap();
    let timeline = Arc::new(Timeline::new().unwrap());
    let childs = Arc::clone(&timeline);
    lifecycle::prepare_for_panics();
    let pid = fork::spawn(
        || enter_namespaces(true),
        |namespaces| {
            let keep = [theirs.as_raw_fd(), kvm.as_raw_fd()];
            fork::close_others(keep.to_vec()).unwrap();
            lifecycle::remember_panics();
            let limits = Limits {
                descriptors: 16,
                file_size: None,
            };
            confine(namespaces, &limits).unwrap();
            let machine = start(&kvm, childs);
            sandbox::enter_attendant().unwrap();
            machine.enter_guest();
            attend(&machine, false, &theirs);
        },
    )
    .unwrap();
    drop(theirs);
    let mut machine = VmmProcess::owning(pid, ours, timeline);
    let reason = reason(&mut machine);
    assert!(
        reason.contains("device thread panicked") && reason.contains("as it should"),
        "{reason}"
    );
}

#[test]
fn a_panic_in_the_first_thread_is_told() {
    let (ours, theirs) = Channel::pair().unwrap();
    lifecycle::prepare_for_panics();
    let pid = fork::spawn(
        || (),
        |()| {
            fork::close_others(vec![theirs.as_raw_fd()]).unwrap();
            lifecycle::remember_panics();
            telling_panics(&theirs, || panic!("as it should"));
        },
    )
    .unwrap();
    drop(theirs);
    let timeline = Arc::new(Timeline::new().unwrap());
    let mut machine = VmmProcess::owning(pid, ours, timeline);
    let reason = reason(&mut machine);
    assert!(reason.contains("first thread panicked"), "{reason}");
    assert!(reason.contains("as it should"), "{reason}");
}

#[test]
fn a_process_that_says_for_ever_what_nobody_asked_is_no_hang() {
    let (ours, theirs) = Channel::pair().unwrap();
    let pid = fork::spawn(
        || (),
        |()| {
            fork::close_others(vec![theirs.as_raw_fd()]).unwrap();
            while theirs.send(Report::Stats(Stats::default())).is_ok() {}
        },
    )
    .unwrap();
    drop(theirs);
    let timeline = Arc::new(Timeline::new().unwrap());
    let mut machine = VmmProcess::owning(pid, ours, timeline);
    let reason = reason(&mut machine);
    assert!(reason.contains("said Stats"), "{reason}");
    assert!(machine.ended);
}
