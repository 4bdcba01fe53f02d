//! Which backend runs a machine on this host.

use anyhow::{Context, Result};
use clap::ValueEnum;
use vmm::backend::Backend;
use vmm::backend::kvm::Kvm;
use vmm::backend::qemu::{Accelerator, Qemu};

/// `--backend`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BackendChoice {
    /// KVM where it can run a guest, else QEMU
    Auto,
    /// KVM, in this process
    Kvm,
    /// QEMU, as a child process
    Qemu,
}

/// How to say, in one sentence, what to install.
pub const INSTALL_QEMU: &str = "install QEMU (on Debian: apt-get install qemu-system-x86)";

/// The backend for `choice`, tested; says on standard error if it is a slow one.
pub fn select(choice: BackendChoice, quiet: bool) -> Result<Box<dyn Backend>> {
    let kvm = match choice {
        BackendChoice::Qemu => None,
        BackendChoice::Auto | BackendChoice::Kvm => Some(vmm::self_test()),
    };
    match (choice, kvm) {
        (_, Some(Ok(()))) => Ok(Box::new(Kvm)),
        (BackendChoice::Kvm, Some(Err(reason))) => {
            Err(reason).context("KVM cannot run machines on this host (see `terrarium doctor`)")
        }
        (_, Some(Err(reason))) => {
            let qemu = Qemu::find(Accelerator::Tcg).with_context(|| {
                format!("KVM cannot be used ({reason}), nor QEMU in its place; {INSTALL_QEMU}")
            })?;
            if !quiet {
                eprintln!(
                    "terrarium: KVM cannot run guests on this host, so this one runs on QEMU, many \
                     times slower; `terrarium doctor` says why and what to do"
                );
            }
            Ok(Box::new(qemu))
        }
        (_, None) => {
            let qemu = Qemu::find(Accelerator::Tcg)
                .with_context(|| format!("QEMU cannot be used; {INSTALL_QEMU}"))?;
            Ok(Box::new(qemu))
        }
    }
}
