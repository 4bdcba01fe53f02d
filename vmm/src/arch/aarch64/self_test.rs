//! The guest of the KVM self-test: its program, its memory and its first registers.

use std::arch::global_asm;
use std::io;

use kvm_ioctls::VcpuFd;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::gic::GicVersion;
use super::layout::{GIC_DISTRIBUTOR, GIC_REDISTRIBUTORS};
use super::{Chipset, vcpu};
use crate::devices::Place;
use crate::self_test::program;

global_asm!(include_str!("self_test.s"));

/// Bytes of guest memory, from address 0.
pub(crate) const SELF_TEST_MEMORY: usize = 0x10000;

/// Where the program reports its steps.
pub(crate) const SELF_TEST_REPORT: Place = Place::Memory(REPORT);

const REPORT: u64 = 0x2000_0000;

// Where things are in guest memory. The program knows the first table.
const LEVEL_1: u64 = 0x1000;
const LEVEL_2: u64 = 0x2000;
const CODE: u64 = 0x8000;

// Descriptors of translation tables (Arm ARM D8.3), 4 KiB granule.
const TABLE: u64 = 3;
const BLOCK: u64 = 1 | 1 << 10; // accessed
const NORMAL: u64 = 1 << 2 | 3 << 8; // second memory type, inner shareable
const READ_ONLY_FOR_ALL: u64 = 3 << 6;
const NEVER_EXECUTE: u64 = 3 << 53;
const BLOCK_SIZE: u64 = 2 << 20;

/// Puts the program into `memory` and the vCPU at its start.
pub(crate) fn enter_self_test(
    vcpu: &VcpuFd,
    chipset: &Chipset,
    memory: &GuestMemoryMmap,
) -> io::Result<()> {
    write_memory(memory).map_err(io::Error::other)?;
    let version = match chipset.version {
        GicVersion::V2 => 2,
        GicVersion::V3 => 3,
    };
    vcpu::start_at(vcpu, GuestAddress(CODE), version)
}

fn write_memory(memory: &GuestMemoryMmap) -> Result<(), vm_memory::GuestMemoryError> {
    let write = |address: u64, value: u64| memory.write_obj(value.to_le(), GuestAddress(address));
    write(LEVEL_1, LEVEL_2 | TABLE)?;
    write(LEVEL_2, BLOCK | NORMAL | READ_ONLY_FOR_ALL)?;
    write(LEVEL_2 + 8, BLOCK | NORMAL | NEVER_EXECUTE)?;
    for registers in [GIC_DISTRIBUTOR, GIC_REDISTRIBUTORS, REPORT] {
        let entry = LEVEL_2 + registers / BLOCK_SIZE * 8;
        write(entry, registers | BLOCK | NEVER_EXECUTE)?;
    }
    memory.write_slice(program(), GuestAddress(CODE))
}
