//! What tests do to a vCPU.

use std::fs;

use kvm_ioctls::VcpuFd;

/// What makes a vCPU one that cannot be entered, on AMD's CPUs. Others enter any that KVM lets one make.
pub(crate) fn unenterable() -> Option<fn(&VcpuFd)> {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap();
    let svm = cpu.split_whitespace().any(|flag| flag == "svm");
    svm.then_some(deliver_no_exception)
}

/// Has a vCPU deliver an exception of a number that none has, which AMD's CPUs refuse to enter a guest with
/// (AMD64 Architecture Programmer's Manual, volume 2, 15.20).
fn deliver_no_exception(vcpu: &VcpuFd) {
    let mut events = vcpu.get_vcpu_events().unwrap();
    events.exception.injected = 1;
    events.exception.nr = 31;
    vcpu.set_vcpu_events(&events).unwrap();
    // One that is entered after all finds no handler, and does not run for ever.
    let mut registers = vcpu.get_sregs().unwrap();
    registers.idt.limit = 0;
    vcpu.set_sregs(&registers).unwrap();
}
