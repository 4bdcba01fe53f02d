//! x86_64.

mod acpi;
mod boot;
mod layout;
mod memory;
mod mptable;
mod ports;
mod qemu;
mod self_test;
mod syscalls;
mod topology;
mod tsc;
mod vcpu;
mod vm;

pub(crate) use boot::load;
pub(crate) use memory::memory_ranges;
pub(crate) use ports::{PortWrite, Ports};
pub(crate) use qemu::{QEMU, qemu_machine};
pub(crate) use self_test::{SELF_TEST_MEMORY, prepare_self_test, self_test_step};
pub(crate) use syscalls::{EVENT_SYSCALLS, VCPU_IOCTLS};
pub(crate) use vcpu::{VcpuTemplate, describe_vcpu};
pub(crate) use vm::{
    MAX_DEVICES, MAX_VCPUS, REQUIRED_CAPABILITIES, mmio_index, mmio_slot, prepare_vm,
};
