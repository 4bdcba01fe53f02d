//! System calls of this architecture that a machine's threads need.

/// Waiting for events in the way that newer architectures do not have.
pub(crate) const EVENT_SYSCALLS: [libc::c_long; 1] = [libc::SYS_epoll_wait];

/// KVM's requests for a vCPU beside running it: `KVM_GET_REGS` and `KVM_GET_SREGS`, to say where it
/// stopped, and `KVM_KVMCLOCK_CTRL`, to say that it was.
pub(crate) const VCPU_IOCTLS: [u64; 3] = [0x8090_ae81, 0x8138_ae83, 0xaead];
