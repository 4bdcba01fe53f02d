//! Features and registers of a vCPU.

use std::io;

use kvm_bindings::{
    KVM_ARM_VCPU_POWER_OFF, KVM_ARM_VCPU_PSCI_0_2, KVM_ARM_VCPU_PTRAUTH_ADDRESS,
    KVM_ARM_VCPU_PTRAUTH_GENERIC, KVM_ARM_VCPU_PVTIME_CTRL, KVM_ARM_VCPU_PVTIME_IPA,
    KVM_ARM_VCPU_SVE, kvm_device_attr, kvm_vcpu_init,
};
use kvm_ioctls::{Cap, Kvm, VcpuFd, VmFd};
use vm_memory::GuestAddress;

use super::boot::Entry;
use super::layout;
use crate::memory::GuestRam;

/// `KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE`: the offset into `struct kvm_regs`, in words
/// of 4 bytes, is added.
const CORE_REGISTER: u64 = 0x6030_0000_0010_0000;
const X0: u64 = CORE_REGISTER;
const PC: u64 = CORE_REGISTER + 256 / 4;
const PSTATE: u64 = CORE_REGISTER + 264 / 4;
/// The system register of `op0` 3, `op1` 0, `CRn` 0, `CRm` 0, `op2` 5.
const MPIDR_EL1: u64 = 0x6030_0000_0013_c005;

/// Affinity fields of `MPIDR_EL1`.
const AFFINITY_MASK: u64 = 0xff_00ff_ffff;

/// EL1 with a stack of its own, interrupts and other exceptions masked.
const EL1H_MASKED: u64 = 0x3c5;

/// Distance from one vCPU's record of stolen time to the next one's.
const STOLEN_TIME_STRIDE: u64 = 64;

/// What is the same for all vCPUs of a machine.
#[derive(Debug)]
pub(crate) struct VcpuTemplate {
    init: kvm_vcpu_init,
    sve: bool,
}

impl VcpuTemplate {
    /// For a machine of `count` vCPUs: all that this host offers.
    pub(crate) fn new(kvm: &Kvm, vm: &VmFd, _count: u8) -> io::Result<Self> {
        let mut init = kvm_vcpu_init::default();
        vm.get_preferred_target(&mut init)?;
        let sve = kvm.check_extension(Cap::ArmSve);
        let pointer_authentication = kvm.check_extension(Cap::ArmPtrAuthAddress)
            && kvm.check_extension(Cap::ArmPtrAuthGeneric);
        for (feature, wanted) in [
            (KVM_ARM_VCPU_PSCI_0_2, true),
            (KVM_ARM_VCPU_SVE, sve),
            (KVM_ARM_VCPU_PTRAUTH_ADDRESS, pointer_authentication),
            (KVM_ARM_VCPU_PTRAUTH_GENERIC, pointer_authentication),
        ] {
            if wanted {
                init.features[0] |= 1 << feature;
            }
        }
        Ok(Self { init, sve })
    }

    /// Makes the vCPU of this index what it is. All but the first wait for that one to start them.
    pub(crate) fn apply(&self, vcpu: &VcpuFd, index: u8) -> io::Result<()> {
        let mut init = self.init;
        if index > 0 {
            init.features[0] |= 1 << KVM_ARM_VCPU_POWER_OFF;
        }
        vcpu.vcpu_init(&init)?;
        if self.sve {
            vcpu.vcpu_finalize(&i32::try_from(KVM_ARM_VCPU_SVE).unwrap_or(i32::MAX))?;
        }
        Ok(())
    }
}

/// Puts the first vCPU at the kernel's entry, and lets KVM tell all of them how much time others took.
pub(crate) fn enter_kernel(vcpus: &[VcpuFd], entry: Entry, _memory: &GuestRam) -> io::Result<()> {
    for (index, vcpu) in (0..).zip(vcpus) {
        let address = layout::STOLEN_TIME.0 + index * STOLEN_TIME_STRIDE;
        let attribute = kvm_device_attr {
            group: KVM_ARM_VCPU_PVTIME_CTRL,
            attr: KVM_ARM_VCPU_PVTIME_IPA.into(),
            addr: (&raw const address).addr() as u64,
            flags: 0,
        };
        if vcpu.has_device_attr(&attribute).is_ok() {
            vcpu.set_device_attr(&attribute)?;
        }
    }
    match vcpus.first() {
        Some(first) => start_at(first, entry.address, entry.device_tree.0),
        None => Ok(()),
    }
}

/// Lets a vCPU begin at `address` with an argument, in EL1 and without translation.
pub(super) fn start_at(vcpu: &VcpuFd, address: GuestAddress, argument: u64) -> io::Result<()> {
    for (register, value) in [(PSTATE, EL1H_MASKED), (PC, address.0), (X0, argument)] {
        vcpu.set_one_reg(register, &value.to_le_bytes())?;
    }
    Ok(())
}

/// The affinity fields of a vCPU's `MPIDR_EL1`: its number for the device tree and PSCI.
pub(super) fn affinity(vcpu: &VcpuFd) -> io::Result<u64> {
    Ok(register(vcpu, MPIDR_EL1)? & AFFINITY_MASK)
}

/// Nothing: a guest reads from its stolen-time record that a vCPU did not run, and its watchdogs count the
/// virtual counter.
pub(crate) const fn interrupted(_: &VcpuFd) {}

/// Where a vCPU is, for messages.
pub(crate) fn describe_vcpu(vcpu: &VcpuFd) -> String {
    match register(vcpu, PC).and_then(|pc| Ok((pc, register(vcpu, PSTATE)?))) {
        Ok((pc, pstate)) => format!("pc {pc:#x}, pstate {pstate:#x}"),
        Err(error) => format!("its registers cannot be read: {error}"),
    }
}

/// A vCPU's registers, for people: those that say where it is.
pub(crate) fn registers(vcpu: &VcpuFd) -> Vec<String> {
    vec![describe_vcpu(vcpu)]
}

fn register(vcpu: &VcpuFd, id: u64) -> io::Result<u64> {
    let mut value = [0; 8];
    vcpu.get_one_reg(id, &mut value)?;
    Ok(u64::from_le_bytes(value))
}
