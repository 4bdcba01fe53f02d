//! What only x86_64 has: triple faults, and I/O ports.

use vmm::VmExit;
use vmm::config::Arch;

use crate::support::bare_metal::{PROGRAMS, run};
use crate::support::wait;
use crate::{LONG, ends};

#[test]
fn a_triple_fault_ends_the_machine_with_its_registers() {
    if Arch::HOST != Arch::X86_64 {
        return;
    }
    // lidt [0x3000]; mov eax, 0x1234; ud2: an interrupt table without entries
    let code: [&[u8]; 2] = [
        &[0x0f, 0x01, 0x1c, 0x25, 0x00, 0x30, 0x00, 0x00],
        &[0xb8, 0x34, 0x12, 0x00, 0x00, 0x0f, 0x0b],
    ];
    let Some((mut machine, _output)) = run(1, &code) else {
        return;
    };
    let exit = wait(&mut *machine, LONG);
    let Some(VmExit::TripleFault { registers }) = exit else {
        panic!("{exit:?}");
    };
    assert!(show(&registers, "rax 0000000000001234"), "{registers:?}");
}

/// Whether the registers of a vCPU that shut down have a value, or none of the guest's: on AMD's CPUs KVM puts
/// such a vCPU back to where it begins after a reset (`shutdown_interception` of the kernel's svm.c).
fn show(registers: &[String], value: &str) -> bool {
    let registers = registers.concat();
    let is_reset =
        registers.contains("rip 000000000000fff0") && registers.contains("cs f0000000ffff0000");
    registers.contains(value) || is_reset
}

#[test]
fn an_instruction_that_kvm_gives_up_on_is_explained() {
    if Arch::HOST != Arch::X86_64 {
        return;
    }
    // mov edi, 0xd0000000; fild dword [rdi]: KVM's emulator does not know the x87's loads.
    let (set, load) = ([0xbf, 0, 0, 0, 0xd0], [0xdb, 0x07]);
    let code: [&[u8]; 3] = [PROGRAMS.map_devices, &set, &load];
    let place = 0x10_0000 + PROGRAMS.map_devices.len() + set.len();
    let Some((mut machine, _output)) = run(1, &code) else {
        return;
    };
    let exit = wait(&mut *machine, LONG);
    let Some(VmExit::Stuck { reason, registers }) = exit else {
        panic!("{exit:?}");
    };
    assert!(reason.contains(&format!("rip {place:#x}")), "{reason}");
    let shown = format!("rip {place:016x}");
    assert!(registers.concat().contains(&shown), "{registers:?}");
}

#[test]
fn any_port_may_be_written_and_read() {
    if Arch::HOST != Arch::X86_64 {
        return;
    }
    ends(
        &[
            &[0x31, 0xd2], // xor edx, edx
            // next: out dx, al; out dx, ax; out dx, eax; in al, dx; in ax, dx; in eax, dx
            &[0x31, 0xc0], // xor eax, eax
            &[0xee, 0x66, 0xef, 0xef, 0xec, 0x66, 0xed, 0xed],
            // Each port of those where machines have their devices, then every 29th.
            &[0xff, 0xc2],                         // inc edx
            &[0x81, 0xfa, 0x00, 0x07, 0x00, 0x00], // cmp edx, 0x700
            &[0x72, 0xec],                         // jb next
            &[0x83, 0xc2, 0x1c],                   // add edx, 28
            &[0x81, 0xfa, 0x00, 0x00, 0x01, 0x00], // cmp edx, 0x10000
            &[0x72, 0xe1],                         // jb next
        ],
        PROGRAMS.reset,
    );
}
