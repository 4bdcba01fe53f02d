//! Getting a thread out of `KVM_RUN`.
//!
//! The kick is a signal that a vCPU thread blocks, except while it is in `KVM_RUN`
//! (`KVM_SET_SIGNAL_MASK`). One that is sent too early stays pending and ends the next `KVM_RUN`
//! at once, so no kick is lost, and no handler is ever called.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kvm_bindings::{KVMIO, kvm_signal_mask};
use kvm_ioctls::VcpuFd;
use vmm_sys_util::ioctl::ioctl_with_ref;
use vmm_sys_util::ioctl_iow_nr;
use vmm_sys_util::signal::SIGRTMIN;

use crate::signals;

ioctl_iow_nr!(KVM_SET_SIGNAL_MASK, KVMIO, 0x8b, kvm_signal_mask);

/// `struct kvm_signal_mask` with the kernel's `sigset_t` behind it.
#[repr(C)]
struct SignalMask {
    length: u32,
    set: [u8; 8],
}

/// The thread that runs a vCPU, for others to kick.
#[derive(Debug, Default)]
pub(crate) struct VcpuThread {
    id: Mutex<Option<libc::pid_t>>,
}

impl VcpuThread {
    /// Makes the calling thread the one to kick, until the guard is dropped.
    ///
    /// Blocks all signals for the thread: they are for others to handle.
    pub(crate) fn enter(&self, vcpu: &VcpuFd) -> io::Result<EnteredThread<'_>> {
        signals::block_all()?;
        let mask = SignalMask {
            length: 8,
            set: (!(1_u64 << (SIGRTMIN() - 1))).to_ne_bytes(),
        };
        // SAFETY: the kernel reads `length` bytes of a signal set after the length.
        if unsafe { ioctl_with_ref(vcpu, KVM_SET_SIGNAL_MASK(), &mask) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: gettid has no preconditions.
        *self.lock() = Some(unsafe { libc::gettid() });
        Ok(EnteredThread { thread: self })
    }

    /// Ends the thread's current `KVM_RUN`, or the next one if it is not in one.
    pub(crate) fn kick(&self) {
        if let Some(id) = *self.lock() {
            // SAFETY: the thread blocks the signal and lives at least until the guard, which needs
            // this lock, is dropped.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), id, SIGRTMIN()) };
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<libc::pid_t>> {
        self.id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a thread's registration with its [`VcpuThread`].
#[derive(Debug)]
pub(crate) struct EnteredThread<'a> {
    thread: &'a VcpuThread,
}

impl Drop for EnteredThread<'_> {
    fn drop(&mut self) {
        *self.thread.lock() = None;
    }
}
