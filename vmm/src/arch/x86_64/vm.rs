//! What a virtual machine needs before its vCPUs exist, and where its devices are.

use std::io;

use kvm_ioctls::{Cap, VcpuFd, VmFd};

use super::layout;
use crate::config::Arch;

/// What this program is compiled for.
pub(crate) const HOST: Arch = Arch::X86_64;

/// What the backend needs of KVM, with the names that `KVM_CHECK_EXTENSION` knows them by.
pub(crate) const REQUIRED_CAPABILITIES: [(Cap, &str); 7] = [
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
    (Cap::Irqchip, "KVM_CAP_IRQCHIP"),
    (Cap::Irqfd, "KVM_CAP_IRQFD"),
    (Cap::Ioeventfd, "KVM_CAP_IOEVENTFD"),
    (Cap::ExtCpuid, "KVM_CAP_EXT_CPUID"),
    (Cap::SetTssAddr, "KVM_CAP_SET_TSS_ADDR"),
    (Cap::MpState, "KVM_CAP_MP_STATE"),
];

/// How a host gets KVM, as the beginning of a sentence.
pub(crate) const TURN_ON_KVM: &str = "Load the kvm_intel or kvm_amd module; if that fails, turn on \
                                      virtualization in the firmware";

/// The most virtio-mmio devices: each has an interrupt of its own.
pub(crate) const MAX_DEVICES: usize = (layout::GSI_COUNT - layout::FIRST_VIRTIO_GSI) as usize;

/// The most vCPUs: APIC ids have 8 bits, one of them is the I/O APIC's and one means all.
pub(crate) const MAX_VCPUS: u8 = 254;

/// What KVM itself emulates beside the vCPUs: the interrupt controllers.
#[derive(Debug)]
pub(crate) struct Chipset;

impl Chipset {
    /// Creates it. Needed before the first vCPU.
    pub(crate) fn new(vm: &VmFd, _vcpus: u8) -> io::Result<Self> {
        vm.set_tss_address(usize::try_from(layout::TSS).map_err(io::Error::other)?)?;
        vm.create_irq_chip()?;
        Ok(Self)
    }

    /// Nothing is left to do when all vCPUs exist.
    pub(crate) fn complete(&mut self, _vcpus: &[VcpuFd]) -> io::Result<()> {
        Ok(())
    }
}
