//! aarch64.

mod boot;
mod caches;
mod fdt;
mod gic;
mod layout;
mod platform;
mod self_test;
mod syscalls;
#[cfg(test)]
pub(crate) mod testing;
mod vcpu;
mod vm;

#[cfg(feature = "fuzzing")]
pub(crate) use boot::load_kernel_only;
pub(crate) use boot::{describe, load};
pub(crate) use gic::Chipset;
pub(crate) use layout::{
    FIRST_VIRTIO_GSI, MAX_DEVICES, MAX_VCPUS, SERIAL_GSI, VIRTIO_MMIO, memory_ranges,
};
pub(crate) use platform::{BoardDevices, SERIAL};
pub(crate) use self_test::{SELF_TEST_MEMORY, SELF_TEST_REPORT, enter_self_test};
pub(crate) use syscalls::{EVENT_SYSCALLS, VCPU_IOCTLS};
pub(crate) use vcpu::{VcpuTemplate, describe_vcpu, enter_kernel, interrupted, registers};
pub(crate) use vm::{HOST, REQUIRED_CAPABILITIES, TURN_ON_KVM, tsc_khz};
