//! The `qemu` backend: QEMU as a child process, for hosts whose KVM cannot run a guest.
//!
//! It gets the same kernel, initramfs, disks and ports as the `kvm` backend, on the machine type
//! that QEMU makes for such guests. Ports are inherited sockets; nothing of ours lies in the file
//! system, and the child dies with this process.

mod arguments;
mod confine;
mod guest;
mod install;
mod process;

use std::path::PathBuf;

use super::{Backend, Machine, StartError};
use crate::VmConfig;
use crate::config::Arch;

pub use install::{MINIMUM_VERSION, QemuError, Version};

/// Who executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// QEMU's translator: any host, at a tenth of the speed or less.
    Tcg,
    /// KVM through QEMU.
    Kvm,
}

/// An installed QEMU.
#[derive(Clone, Debug)]
pub struct Qemu {
    binary: PathBuf,
    version: Version,
    accelerator: Accelerator,
}

impl Qemu {
    /// Finds the QEMU for guests of this architecture, and asks it for its version.
    ///
    /// # Errors
    /// If there is none, it does not run, or it is older than [`MINIMUM_VERSION`].
    pub fn find(guest: Arch, accelerator: Accelerator) -> Result<Self, QemuError> {
        let binary = install::find(guest.qemu())?;
        let version = install::version(&binary)?;
        Ok(Self {
            binary,
            version,
            accelerator,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn binary(&self) -> &std::path::Path {
        &self.binary
    }

    /// Which it is.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }
}

impl Backend for Qemu {
    fn name(&self) -> &'static str {
        "qemu"
    }

    fn start(&self, config: VmConfig) -> Result<Box<dyn Machine>, StartError> {
        let mut invocation = arguments::Invocation::default();
        arguments::describe(&mut invocation, config, self.accelerator)?;
        Ok(Box::new(process::QemuMachine::spawn(
            &self.binary,
            invocation,
        )?))
    }
}
