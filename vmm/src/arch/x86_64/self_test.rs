//! The guest of the KVM self-test: its program, its memory and its first registers.

use std::arch::global_asm;
use std::io;

use kvm_bindings::{kvm_dtable, kvm_regs, kvm_segment};
use kvm_ioctls::VcpuFd;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::Chipset;
use super::vcpu::enter_long_mode;
use crate::devices::Place;
use crate::self_test::program;

global_asm!(include_str!("self_test.s"));

unsafe extern "C" {
    static terrarium_self_test_page_fault: u8;
    static terrarium_self_test_timer: u8;
}

/// Bytes of guest memory, from address 0.
pub(crate) const SELF_TEST_MEMORY: usize = 0x10000;

/// Where the program reports its steps.
pub(crate) const SELF_TEST_REPORT: Place = Place::Port(0xf4);

const PAGE_FAULT_VECTOR: u64 = 14;
const TIMER_VECTOR: u64 = 0x40;

// Where things are in guest memory. The program knows the page tables and the user's stack.
const PML4: u64 = 0x1000;
const PDPT: u64 = 0x2000;
const PD: u64 = 0x3000;
const GDT: u64 = 0x4000;
const TSS: u64 = 0x5000;
const IDT: u64 = 0x6000;
const CODE: u64 = 0x8000;
const INTERRUPT_STACK: u64 = 0xd000;
const KERNEL_STACK: u64 = 0xf000;

// Segment selectors; `syscall` and `sysret` fix their order.
const KERNEL_CODE: u16 = 0x08;
const KERNEL_DATA: u16 = 0x10;
const TSS_SELECTOR: u16 = 0x30;

const TSS_LIMIT: u16 = 103;
const IDT_LIMIT: u16 = 0xfff;

/// Puts the program into `memory` and the vCPU at its start.
pub(crate) fn enter_self_test(
    vcpu: &VcpuFd,
    _chipset: &Chipset,
    memory: &GuestMemoryMmap,
) -> io::Result<()> {
    write_memory(memory).map_err(io::Error::other)?;
    let mut sregs = vcpu.get_sregs()?;
    enter_long_mode(&mut sregs, KERNEL_CODE, KERNEL_DATA, PML4);
    sregs.tr = kvm_segment {
        base: TSS,
        limit: TSS_LIMIT.into(),
        selector: TSS_SELECTOR,
        type_: 0xb,
        present: 1,
        ..Default::default()
    };
    sregs.gdt = kvm_dtable {
        base: GDT,
        limit: 63,
        ..Default::default()
    };
    sregs.idt = kvm_dtable {
        base: IDT,
        limit: IDT_LIMIT,
        ..Default::default()
    };
    sregs.efer |= 1; // SCE
    vcpu.set_sregs(&sregs)?;
    vcpu.set_regs(&kvm_regs {
        rip: CODE,
        rsp: KERNEL_STACK,
        rflags: 2,
        ..Default::default()
    })?;
    Ok(())
}

fn write_memory(memory: &GuestMemoryMmap) -> Result<(), vm_memory::GuestMemoryError> {
    let write = |address: u64, value: u64| memory.write_obj(value, GuestAddress(address));
    // Present, writable, for user mode; the last one is a 2 MiB page.
    write(PML4, PDPT | 7)?;
    write(PDPT, PD | 7)?;
    write(PD, 0x87)?;

    write(GDT + 0x08, 0x00af_9b00_0000_ffff)?; // kernel code, 64-bit
    write(GDT + 0x10, 0x00cf_9300_0000_ffff)?; // kernel data
    write(GDT + 0x18, 0x00cf_fb00_0000_ffff)?; // user code, 32-bit
    write(GDT + 0x20, 0x00cf_f300_0000_ffff)?; // user data
    write(GDT + 0x28, 0x00af_fb00_0000_ffff)?; // user code, 64-bit
    write(
        GDT + 0x30,
        0x0000_8b00_0000_0000 | TSS << 16 | u64::from(TSS_LIMIT),
    )?;
    write(TSS + 4, INTERRUPT_STACK)?; // RSP0

    for (vector, handler) in [
        (
            PAGE_FAULT_VECTOR,
            program_offset(&raw const terrarium_self_test_page_fault),
        ),
        (
            TIMER_VECTOR,
            program_offset(&raw const terrarium_self_test_timer),
        ),
    ] {
        // An interrupt gate; the program ends below 64 KiB.
        let gate = (CODE + handler) | u64::from(KERNEL_CODE) << 16 | 0x8e00 << 32;
        write(IDT + vector * 16, gate)?;
    }
    memory.write_slice(program(), GuestAddress(CODE))
}

fn program_offset(symbol: *const u8) -> u64 {
    let offset = symbol.addr() - program().as_ptr().addr();
    u64::try_from(offset).unwrap_or(u64::MAX)
}
