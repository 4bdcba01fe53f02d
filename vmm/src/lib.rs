//! The virtual machine: memory, vCPUs, devices, and the backends that run them.
//!
//! This crate knows nothing of images, registries or the command line. It is given a [`VmConfig`]
//! and a [`Backend`], and gives back a running [`Machine`].

mod arch;
pub mod backend;
mod boot;
pub mod config;
mod confinement;
mod cpu;
mod devices;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod initramfs;
mod memory;
mod random;
mod self_test;
mod signals;
pub mod stats;
mod stream;
mod thread;
mod vmlinux;

pub use backend::{Backend, Machine, StartError, VmExit};
pub use config::VmConfig;
pub use cpu::has_32_bit_mode;
pub use self_test::{SelfTestError, check_kvm, self_test};
pub use stats::Stats;
