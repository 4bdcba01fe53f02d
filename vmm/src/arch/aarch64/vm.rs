//! What the host has to offer.

use kvm_ioctls::Cap;

use crate::config::Arch;

/// What this program is compiled for.
pub(crate) const HOST: Arch = Arch::Aarch64;

/// What the backend needs of KVM, with the names that `KVM_CHECK_EXTENSION` knows them by.
pub(crate) const REQUIRED_CAPABILITIES: [(Cap, &str); 6] = [
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
    (Cap::Irqfd, "KVM_CAP_IRQFD"),
    (Cap::Ioeventfd, "KVM_CAP_IOEVENTFD"),
    (Cap::OneReg, "KVM_CAP_ONE_REG"),
    (Cap::DeviceCtrl, "KVM_CAP_DEVICE_CTRL"),
    (Cap::ArmPsci02, "KVM_CAP_ARM_PSCI_0_2"),
];

/// How a host gets KVM, as the beginning of a sentence.
pub(crate) const TURN_ON_KVM: &str =
    "Boot the host's kernel at EL2, and with KVM in it (CONFIG_KVM)";

/// No counter of an x86_64 CPU here.
pub(crate) fn tsc_khz() -> Option<u64> {
    None
}
