//! System calls of this architecture that a machine's threads need.

/// Waiting for events: in no other way than on every architecture.
pub(crate) const EVENT_SYSCALLS: [libc::c_long; 0] = [];

/// KVM's requests for a vCPU beside running it: `KVM_GET_ONE_REG`, to say where it stopped.
pub(crate) const VCPU_IOCTLS: [u64; 1] = [0x4010_aeab];
