//! Which backend runs a machine on this host.

use anyhow::{Context, Result};
use clap::ValueEnum;
use vmm::backend::Backend;
use vmm::backend::kvm::Kvm;
use vmm::backend::qemu::{Accelerator, Qemu};
use vmm::config::Arch;

use crate::home::Home;
use crate::kvm;
use crate::output::say;

/// `--backend`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BackendChoice {
    /// KVM where it can run a guest, else QEMU
    Auto,
    /// KVM
    Kvm,
    /// QEMU
    Qemu,
}

/// How to say, in one sentence, what to install for guests of an architecture.
pub fn install_qemu(guest: Arch) -> String {
    let package = match guest {
        Arch::X86_64 => "qemu-system-x86",
        Arch::Aarch64 => "qemu-system-arm",
    };
    format!("install QEMU (on Debian: apt-get install {package})")
}

/// A kernel's architecture as that of a machine.
pub fn arch(kernel: kernels::Arch) -> Arch {
    match kernel {
        kernels::Arch::X86_64 => Arch::X86_64,
        kernels::Arch::Aarch64 => Arch::Aarch64,
    }
}

/// The backend for `choice` and guests of an architecture, tested; says on standard error if it is a
/// slow one.
pub fn select(
    home: &Home,
    choice: BackendChoice,
    guest: kernels::Arch,
    quiet: bool,
) -> Result<Box<dyn Backend>> {
    let guest = arch(guest);
    let kvm = kvm::works(home);
    match (choice, kvm) {
        (BackendChoice::Auto | BackendChoice::Kvm, Ok(())) => Ok(Box::new(Kvm)),
        (BackendChoice::Kvm, Err(reason)) => {
            Err(reason).context("KVM cannot run machines on this host (see `terrarium doctor`)")
        }
        (BackendChoice::Auto, Err(reason)) => {
            let qemu = Qemu::find(guest, Accelerator::Tcg).with_context(|| {
                let install = install_qemu(guest);
                format!("KVM cannot be used ({reason}), nor QEMU in its place; {install}")
            })?;
            if !quiet {
                say!(
                    "terrarium: KVM cannot run guests on this host, so this one runs on QEMU, many \
                     times slower; `terrarium doctor` says why and what to do"
                );
            }
            Ok(Box::new(qemu))
        }
        (BackendChoice::Qemu, kvm) => {
            // QEMU's KVM is this host's: it can do no more than the self-test found.
            let accelerator = if kvm.is_ok() && guest == Arch::HOST {
                Accelerator::Kvm
            } else {
                Accelerator::Tcg
            };
            let qemu = Qemu::find(guest, accelerator)
                .with_context(|| format!("QEMU cannot be used; {}", install_qemu(guest)))?;
            Ok(Box::new(qemu))
        }
    }
}
