//! What tests do to a vCPU.

use kvm_ioctls::VcpuFd;

/// What makes a vCPU one that cannot be entered: nothing, as KVM checks whatever it is given for one.
pub(crate) fn unenterable() -> Option<fn(&VcpuFd)> {
    None
}
