//! The kernels that guests boot: kept in a store, taken from distributions' packages, and made
//! ready for a virtual machine.
//!
//! Importing a kernel unpacks it into the form a loader takes, and keeps only the modules that a
//! guest may need; the distribution's archive is not needed afterwards. What a run asks of a
//! [`Kernel`] is its [loadable file](Kernel::vmlinux), an [initramfs](Kernel::initramfs) around
//! guest-init, and the [arguments](Kernel::boot_arguments) that suit its configuration.
//!
//! [`Emulators`] keeps, in the same way, the programs that run other architectures' programs in guests.
//!
//! Packages are not trusted: every length in them is bounded, and no path of theirs is used as one.

mod alpine;
mod arch;
mod boot;
mod compression;
mod config;
pub mod cpio;
mod drivers;
mod emulators;
mod error;
mod folder;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod image;
mod initramfs;
mod kernel;
mod modules;
mod package;
mod store;

pub use alpine::Repository;
pub use arch::Arch;
pub use boot::BootOptions;
pub use config::{KernelConfig, Setting};
pub use drivers::{Driver, Need};
pub use emulators::{Emulator, Emulators, Target};
pub use error::{Error, FormatError};
pub use kernel::{Discovery, Kernel, Presence};
pub use store::Store;
