//! Registers, CPUID and model-specific registers of a vCPU at the kernel's entry.

use std::io;

use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, Msrs, kvm_dtable, kvm_fpu, kvm_lapic_state, kvm_msr_entry,
    kvm_regs, kvm_segment, kvm_sregs,
};
use kvm_ioctls::{Cap, Kvm, VcpuFd, VmFd};
use vm_memory::{Bytes, GuestAddress};

use super::boot::Entry;
use super::layout::{BOOT_PARAMS, GDT, PML4};
use super::topology;
use crate::memory::GuestRam;

const MSR_IA32_MISC_ENABLE: u32 = 0x1a0;
const MISC_ENABLE_FAST_STRING: u64 = 1;
const MSR_MTRR_DEF_TYPE: u32 = 0x2ff;
const MTRR_ENABLE_WRITE_BACK: u64 = 1 << 11 | 6;

const APIC_LVT_LINT0: usize = 0x350;
const APIC_LVT_LINT1: usize = 0x360;
const APIC_DELIVER_NMI: u32 = 4 << 8;
const APIC_DELIVER_EXTINT: u32 = 7 << 8;

// The descriptors that the boot protocol asks for, by their selectors' names in the kernel.
const BOOT_CS: u16 = 0x10;
const BOOT_DS: u16 = 0x18;
const BOOT_TSS: u16 = 0x20;
const GDT_ENTRIES: [u64; 5] = [
    0,
    0,
    0x00af_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x008f_8b00_0000_ffff,
];

/// What is the same for all vCPUs of a machine.
#[derive(Debug)]
pub(crate) struct VcpuTemplate {
    cpuid: CpuId,
}

impl VcpuTemplate {
    /// For a machine of `count` vCPUs: all that this host offers.
    pub(crate) fn new(kvm: &Kvm, _vm: &VmFd, count: u8) -> io::Result<Self> {
        let mut cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?;
        let deadline_timer = kvm.check_extension(Cap::TscDeadlineTimer);
        topology::describe_machine(&mut cpuid, count, deadline_timer);
        Ok(Self { cpuid })
    }

    /// Makes the vCPU of this index what it is. All but the first wait for that one to start them.
    pub(crate) fn apply(&self, vcpu: &VcpuFd, index: u8) -> io::Result<()> {
        let mut cpuid = self.cpuid.clone();
        topology::describe_vcpu(&mut cpuid, index);
        vcpu.set_cpuid2(&cpuid)?;
        set_msrs(vcpu)?;
        set_local_interrupts(vcpu)
    }
}

/// Puts the first vCPU at the kernel's entry.
pub(crate) fn enter_kernel(vcpus: &[VcpuFd], entry: Entry, memory: &GuestRam) -> io::Result<()> {
    let Some(vcpu) = vcpus.first() else {
        return Ok(());
    };
    set_fpu(vcpu)?;
    write_tables(memory).map_err(io::Error::other)?;
    set_system_registers(vcpu)?;
    vcpu.set_regs(&kvm_regs {
        rflags: 2,
        rip: entry.address.0,
        rsi: BOOT_PARAMS.0,
        ..Default::default()
    })?;
    Ok(())
}

/// Tells the guest that the vCPU did not run for some time, so that its watchdogs do not take that for
/// a fault of its own.
pub(crate) fn interrupted(vcpu: &VcpuFd) {
    // It fails if the guest has no paravirtual clock to tell it by.
    let _ = vcpu.kvmclock_ctrl();
}

/// Where a vCPU is, for messages.
pub(crate) fn describe_vcpu(vcpu: &VcpuFd) -> String {
    match vcpu.get_regs() {
        Ok(regs) => format!(
            "rip {:#x}, rsp {:#x}, rflags {:#x}",
            regs.rip, regs.rsp, regs.rflags
        ),
        Err(error) => format!("its registers cannot be read: {error}"),
    }
}

/// A vCPU's registers, for people.
pub(crate) fn registers(vcpu: &VcpuFd) -> Vec<String> {
    let (r, s) = match vcpu
        .get_regs()
        .and_then(|regs| Ok((regs, vcpu.get_sregs()?)))
    {
        Ok(registers) => registers,
        Err(error) => return vec![format!("cannot be read: {error}")],
    };
    let line = |names: [&str; 4], values: [u64; 4]| {
        let pairs = names
            .iter()
            .zip(values)
            .filter(|(name, _)| !name.is_empty());
        let pairs: Vec<_> = pairs
            .map(|(name, value)| format!("{name:>6} {value:016x}"))
            .collect();
        pairs.join(" ")
    };
    let segment = |s: kvm_segment| u64::from(s.selector) << 48 | s.base & 0xffff_ffff_ffff;
    let table = |t: kvm_dtable| u64::from(t.limit) << 48 | t.base & 0xffff_ffff_ffff;
    vec![
        line(
            ["rip", "rsp", "rflags", "rbp"],
            [r.rip, r.rsp, r.rflags, r.rbp],
        ),
        line(["rax", "rbx", "rcx", "rdx"], [r.rax, r.rbx, r.rcx, r.rdx]),
        line(["rsi", "rdi", "r8", "r9"], [r.rsi, r.rdi, r.r8, r.r9]),
        line(["r10", "r11", "r12", "r13"], [r.r10, r.r11, r.r12, r.r13]),
        line(["r14", "r15", "", ""], [r.r14, r.r15, 0, 0]),
        line(["cr0", "cr2", "cr3", "cr4"], [s.cr0, s.cr2, s.cr3, s.cr4]),
        // Selector or limit in the upper 16 bits, base in the others.
        line(
            ["efer", "cs", "ss", "tr"],
            [s.efer, segment(s.cs), segment(s.ss), segment(s.tr)],
        ),
        line(["gdt", "idt", "", ""], [table(s.gdt), table(s.idt), 0, 0]),
    ]
}

fn set_msrs(vcpu: &VcpuFd) -> io::Result<()> {
    let entry = |index, data| kvm_msr_entry {
        index,
        data,
        ..Default::default()
    };
    let entries = [
        entry(MSR_IA32_MISC_ENABLE, MISC_ENABLE_FAST_STRING),
        entry(MSR_MTRR_DEF_TYPE, MTRR_ENABLE_WRITE_BACK),
    ];
    let msrs = Msrs::from_entries(&entries).map_err(|e| io::Error::other(format!("{e:?}")))?;
    if vcpu.set_msrs(&msrs)? < entries.len() {
        return Err(io::Error::other("KVM refuses a model-specific register"));
    }
    Ok(())
}

/// The local APIC's pins, as a BIOS leaves them.
fn set_local_interrupts(vcpu: &VcpuFd) -> io::Result<()> {
    let mut lapic = vcpu.get_lapic()?;
    set_lapic_register(&mut lapic, APIC_LVT_LINT0, APIC_DELIVER_EXTINT);
    set_lapic_register(&mut lapic, APIC_LVT_LINT1, APIC_DELIVER_NMI);
    vcpu.set_lapic(&lapic)?;
    Ok(())
}

fn set_lapic_register(lapic: &mut kvm_lapic_state, offset: usize, value: u32) {
    for (register, byte) in lapic.regs.iter_mut().skip(offset).zip(value.to_ne_bytes()) {
        *register = i8::from_ne_bytes([byte]);
    }
}

fn set_fpu(vcpu: &VcpuFd) -> io::Result<()> {
    vcpu.set_fpu(&kvm_fpu {
        fcw: 0x37f,
        mxcsr: 0x1f80,
        ..Default::default()
    })?;
    Ok(())
}

/// Descriptors, and page tables that map the first GiB one to one with 2 MiB pages.
fn write_tables(memory: &GuestRam) -> Result<(), vm_memory::GuestMemoryError> {
    const PRESENT_WRITABLE: u64 = 3;
    const LARGE: u64 = 1 << 7;
    let pdpt = GuestAddress(PML4.0 + 0x1000);
    let pd = GuestAddress(PML4.0 + 0x2000);
    memory.write_obj(GDT_ENTRIES, GDT)?;
    memory.write_obj(pdpt.0 | PRESENT_WRITABLE, PML4)?;
    memory.write_obj(pd.0 | PRESENT_WRITABLE, pdpt)?;
    let entries: Vec<u8> = (0..512_u64)
        .flat_map(|page| (page << 21 | LARGE | PRESENT_WRITABLE).to_le_bytes())
        .collect();
    memory.write_slice(&entries, pd)
}

fn set_system_registers(vcpu: &VcpuFd) -> io::Result<()> {
    let mut sregs = vcpu.get_sregs()?;
    enter_long_mode(&mut sregs, BOOT_CS, BOOT_DS, PML4.0);
    sregs.tr = kvm_segment {
        limit: 0xffff_ffff,
        selector: BOOT_TSS,
        type_: 0xb,
        present: 1,
        g: 1,
        ..Default::default()
    };
    sregs.gdt = kvm_dtable {
        base: GDT.0,
        limit: 39,
        ..Default::default()
    };
    sregs.idt = kvm_dtable::default();
    vcpu.set_sregs(&sregs)?;
    Ok(())
}

/// 64-bit mode with flat segments of these selectors, and with page tables at `pml4`.
pub(super) fn enter_long_mode(sregs: &mut kvm_sregs, code: u16, data: u16, pml4: u64) {
    let segment = kvm_segment {
        limit: 0xffff_ffff,
        present: 1,
        s: 1,
        g: 1,
        ..Default::default()
    };
    sregs.cs = kvm_segment {
        selector: code,
        type_: 0xb,
        l: 1,
        ..segment
    };
    let data = kvm_segment {
        selector: data,
        type_: 3,
        db: 1,
        ..segment
    };
    sregs.ds = data;
    sregs.es = data;
    sregs.fs = data;
    sregs.gs = data;
    sregs.ss = data;
    sregs.cr3 = pml4;
    sregs.cr4 |= 1 << 5; // PAE
    sregs.cr0 |= 1 | 1 << 31; // PE, PG
    sregs.efer |= 1 << 8 | 1 << 10; // LME, LMA
}
