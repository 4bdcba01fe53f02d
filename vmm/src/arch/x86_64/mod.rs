//! x86_64.

mod qemu;
mod tsc;

pub(crate) use qemu::{QEMU, qemu_machine};
