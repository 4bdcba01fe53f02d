//! x86_64.

mod acpi;
mod boot;
mod layout;
mod memory;
mod mptable;
mod ports;
mod self_test;
mod syscalls;
#[cfg(test)]
pub(crate) mod testing;
mod topology;
mod tsc;
mod vcpu;
mod vm;

#[cfg(feature = "fuzzing")]
pub(crate) use boot::load_kernel_only;
pub(crate) use boot::{describe, load};
pub(crate) use layout::{FIRST_VIRTIO_GSI, SERIAL_GSI, VIRTIO_MMIO};
pub(crate) use memory::memory_ranges;
pub(crate) use ports::{BoardDevices, SERIAL};
pub(crate) use self_test::{SELF_TEST_MEMORY, SELF_TEST_REPORT, enter_self_test};
pub(crate) use syscalls::{EVENT_SYSCALLS, VCPU_IOCTLS};
pub(crate) use tsc::tsc_khz;
pub(crate) use vcpu::{VcpuTemplate, describe_vcpu, enter_kernel, interrupted, registers};
pub(crate) use vm::{Chipset, HOST, MAX_DEVICES, MAX_VCPUS, REQUIRED_CAPABILITIES, TURN_ON_KVM};
