//! A vCPU's thread.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kvm_bindings::{
    KVM_INTERNAL_ERROR_DELIVERY_EV, KVM_INTERNAL_ERROR_EMULATION, KVM_INTERNAL_ERROR_SIMUL_EX,
    KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON,
};
use kvm_ioctls::{VcpuExit, VcpuFd};

use super::lifecycle::{Lifecycle, PanicGuard};
use super::machine::Parts;
use crate::arch;
use crate::backend::VmExit;
use crate::backend::timeline::Step;
use crate::devices::Place;
use crate::devices::platform::PlatformDevices;

/// Runs a vCPU until the machine ends.
pub(super) fn run(index: u8, mut vcpu: VcpuFd, parts: &Parts, lifecycle: &Lifecycle) {
    let name = format!("vCPU {index}");
    let _guard = PanicGuard {
        lifecycle,
        thread: &name,
    };
    let Some(thread) = lifecycle.vcpu(index) else {
        return;
    };
    let _entered = match thread.enter(&vcpu) {
        Ok(entered) => entered,
        Err(error) => {
            let message = format!("Cannot set up the thread of {name}: {error}");
            return lifecycle.end(Some(VmExit::Broken(message)));
        }
    };
    if let Err(error) = parts.sandbox.enter_vcpu() {
        let message = format!("Cannot confine the thread of {name}: {error}");
        return lifecycle.end(Some(VmExit::Broken(message)));
    }
    lifecycle.gate().confined();
    lifecycle.gate().pass();
    if index == 0 {
        parts.timeline.mark(Step::Entry);
    }
    while !lifecycle.is_ending() {
        if let Some(exit) = step(&name, &mut vcpu, parts) {
            lifecycle.end(Some(exit));
        }
    }
}

/// Runs the vCPU to its next exit and answers that.
fn step(name: &str, vcpu: &mut VcpuFd, parts: &Parts) -> Option<VmExit> {
    let exit = match vcpu.run() {
        Ok(exit) => exit,
        Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {
            parts.exits.interrupted.fetch_add(1, Ordering::Relaxed);
            // The whole process may have been stopped for a while.
            arch::interrupted(vcpu);
            return None;
        }
        Err(error) => {
            return Some(stuck(vcpu, &format!("KVM cannot run {name}: {error}")));
        }
    };
    let counter = match exit {
        VcpuExit::MmioRead(..) | VcpuExit::MmioWrite(..) => &parts.exits.mmio,
        VcpuExit::IoIn(..) | VcpuExit::IoOut(..) => &parts.exits.port,
        _ => &parts.exits.other,
    };
    counter.fetch_add(1, Ordering::Relaxed);
    let _timed = parts.exits.timed();
    let platform = || lock(&parts.platform);
    match exit {
        VcpuExit::MmioRead(address, data) => {
            if !parts.bus.read(address, data) {
                platform().read(Place::Memory(address), data);
            }
        }
        VcpuExit::MmioWrite(address, data) => {
            if !parts.bus.write(address, data) {
                return platform().write(Place::Memory(address), data);
            }
        }
        VcpuExit::IoIn(port, data) => platform().read(Place::Port(port), data),
        VcpuExit::IoOut(port, data) => return platform().write(Place::Port(port), data),
        VcpuExit::SystemEvent(..) => return Some(VmExit::Guest),
        VcpuExit::Shutdown => {
            return Some(VmExit::TripleFault {
                registers: arch::registers(vcpu),
            });
        }
        VcpuExit::Intr => {}
        VcpuExit::FailEntry(reason, cpu) => {
            let reason = format!(
                "the host's CPU {cpu} refused to enter {name}, whose state it takes for impossible \
                 (its own reason: {reason:#x})"
            );
            return Some(stuck(vcpu, &reason));
        }
        VcpuExit::InternalError => {
            let reason = format!("KVM could not go on with {name}: {}", internal_error(vcpu));
            return Some(stuck(vcpu, &reason));
        }
        other => {
            return Some(VmExit::Broken(format!("{name} stopped with {other:?}")));
        }
    }
    None
}

/// That a vCPU cannot go on, and where it is.
fn stuck(vcpu: &VcpuFd, reason: &str) -> VmExit {
    VmExit::Stuck {
        reason: format!("{reason} ({})", arch::describe_vcpu(vcpu)),
        registers: arch::registers(vcpu),
    }
}

/// What KVM says about an error of its own, after an exit with one.
fn internal_error(vcpu: &mut VcpuFd) -> String {
    let run = vcpu.get_kvm_run();
    // SAFETY: the exit was an internal error, for which KVM fills in this member; any bits are valid.
    let number = unsafe { run.__bindgen_anon_1.internal.suberror };
    match number {
        KVM_INTERNAL_ERROR_EMULATION => "it met an instruction that it cannot emulate".into(),
        KVM_INTERNAL_ERROR_SIMUL_EX => "two exceptions at once".into(),
        KVM_INTERNAL_ERROR_DELIVERY_EV => "an exit while it delivered an event".into(),
        KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON => "an exit that it does not know".into(),
        other => format!("internal error {other}"),
    }
}

fn lock(devices: &Mutex<PlatformDevices>) -> MutexGuard<'_, PlatformDevices> {
    // A thread that panicked with the lock has already ended the machine.
    devices.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backend::kvm::testing;
    use crate::backend::timeline::Timeline;

    #[test]
    fn a_refused_entry_is_explained() {
        let Some(kvm) = testing::kvm() else {
            return;
        };
        let Some(make_unenterable) = arch::testing::unenterable() else {
            eprintln!("not tested here: this CPU enters any guest");
            return;
        };
        let timeline = Arc::new(Timeline::new().unwrap());
        let (parts, mut vcpus) = testing::parts(&kvm, Vec::new(), 1, timeline);
        let vcpu = &mut vcpus[0];
        make_unenterable(vcpu);
        let exit = (0..10).find_map(|_| step("vCPU 0", vcpu, &parts));
        let Some(VmExit::Stuck { reason, registers }) = exit else {
            panic!("{exit:?}");
        };
        assert!(reason.contains("refused to enter vCPU 0"), "{reason}");
        assert!(!registers.is_empty());
    }
}
