//! A vCPU's thread.

use std::sync::{Mutex, MutexGuard, PoisonError};

use kvm_ioctls::{VcpuExit, VcpuFd};

use super::lifecycle::{Lifecycle, PanicGuard};
use super::machine::Parts;
use crate::arch::{self, PlatformDevices};
use crate::backend::VmExit;
use crate::devices::Place;

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
        Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => return None,
        Err(error) => {
            let state = arch::describe_vcpu(vcpu);
            return Some(VmExit::Broken(format!(
                "KVM cannot run {name}: {error} ({state})"
            )));
        }
    };
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
        // The guest asked its firmware, or a triple fault: how some kernels reset.
        VcpuExit::Shutdown | VcpuExit::SystemEvent(..) => return Some(VmExit::Guest),
        VcpuExit::Intr => {}
        VcpuExit::FailEntry(reason, cpu) => {
            return Some(VmExit::Broken(format!(
                "The host's CPU {cpu} refused to run {name} (reason {reason:#x})"
            )));
        }
        VcpuExit::InternalError => {
            let state = arch::describe_vcpu(vcpu);
            return Some(VmExit::Broken(format!(
                "KVM could not go on with {name}: it met an instruction that it cannot emulate, or \
                 an error of its own ({state})"
            )));
        }
        other => {
            return Some(VmExit::Broken(format!("{name} stopped with {other:?}")));
        }
    }
    None
}

fn lock(devices: &Mutex<PlatformDevices>) -> MutexGuard<'_, PlatformDevices> {
    // A thread that panicked with the lock has already ended the machine.
    devices.lock().unwrap_or_else(PoisonError::into_inner)
}
