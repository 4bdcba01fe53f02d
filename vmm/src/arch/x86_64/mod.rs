//! x86_64.

mod qemu;
mod self_test;
mod tsc;

pub(crate) use qemu::{QEMU, qemu_machine};
pub(crate) use self_test::{SELF_TEST_MEMORY, prepare_self_test, self_test_step};

use kvm_ioctls::Cap;

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
