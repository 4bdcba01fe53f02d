//! A device's interrupt.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

/// Bits of the interrupt status register (virtio 1.2, section 4.2.2).
const USED_BUFFER: u32 = 1;
const CONFIG_CHANGE: u32 = 2;

/// The interrupt line of a device and its reasons.
#[derive(Debug)]
pub(crate) struct Interrupt {
    status: AtomicU32,
    line: EventFd,
}

impl Interrupt {
    /// An interrupt that nothing listens to yet.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            status: AtomicU32::new(0),
            line: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
        })
    }

    /// What KVM listens to.
    pub(crate) fn line(&self) -> &EventFd {
        &self.line
    }

    /// Tells the driver to look at the used rings.
    pub(super) fn signal_used(&self) {
        self.signal(USED_BUFFER);
    }

    /// Tells the driver that the configuration or the status changed.
    pub(super) fn signal_config(&self) {
        self.signal(CONFIG_CHANGE);
    }

    /// The reasons since they were last acknowledged.
    pub(crate) fn status(&self) -> u32 {
        self.status.load(Ordering::SeqCst)
    }

    /// The driver has seen these reasons.
    pub(crate) fn acknowledge(&self, reasons: u32) {
        self.status.fetch_and(!reasons, Ordering::SeqCst);
    }

    fn signal(&self, reason: u32) {
        self.status.fetch_or(reason, Ordering::SeqCst);
        // Only a full counter can refuse, and then the interrupt is already on its way.
        let _ = self.line.write(1);
    }
}
