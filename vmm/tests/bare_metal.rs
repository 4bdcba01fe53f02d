//! Machines whose "kernel" is a few instructions that do what no kernel should: each must end as it
//! was meant to, or be stopped at once.
//!
//! They run wherever `/dev/kvm` opens; a KVM that cannot run user mode is good enough.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::Read;
use std::time::Duration;

use support::bare_metal::{ARRIVED, RESET, kernel, run, start};
use support::{config, stop, wait};
use vmm::backend::kvm::Kvm;
use vmm::config::{Disk, InitramfsPart, Writes};
use vmm::{Backend, StartError, VmConfig, VmExit};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(500);

/// Maps 2 MiB with the devices' registers one to one, by a table at 0x3000 below the page tables that
/// the machine starts with.
const MAP_DEVICES: &[u8] = &[
    0xb8, 0x03, 0x30, 0x00, 0x00, // mov eax, 0x3003
    0x48, 0x89, 0x04, 0x25, 0x18, 0xa0, 0x00, 0x00, // mov [0xa018], rax
    0xb8, 0x83, 0x00, 0x00, 0xd0, // mov eax, 0xd0000083
    0x48, 0x89, 0x04, 0x25, 0x00, 0x34, 0x00, 0x00, // mov [0x3400], rax
];

/// The guest does `code` and arrives at `end`, which ends the machine.
fn ends(code: &[&[u8]], end: &[u8]) {
    let Some((mut machine, mut output)) = run(1, &[&code.concat(), ARRIVED, end]) else {
        return;
    };
    assert_eq!(wait(&mut *machine, LONG), Some(VmExit::Guest));
    stop(&mut *machine);
    assert_eq!(machine.exit(), Some(VmExit::Guest));
    drop(machine);
    let mut said = Vec::new();
    output.read_to_end(&mut said).unwrap();
    assert_eq!(said.last(), Some(&b'.'), "the program did not arrive");
}

fn goes_on_until_stopped(code: &[&[u8]]) {
    let Some((mut machine, _output)) = run(2, code) else {
        return;
    };
    assert_eq!(wait(&mut *machine, SHORT), None);
    stop(&mut *machine);
    assert_eq!(machine.exit(), None);
}

#[test]
fn a_reset_ends_the_machine() {
    ends(&[], RESET);
}

#[test]
fn a_power_off_ends_the_machine() {
    // mov dx, 0x600; mov al, 0x34; out dx, al
    ends(&[], &[0x66, 0xba, 0x00, 0x06, 0xb0, 0x34, 0xee]);
}

#[test]
fn a_triple_fault_ends_the_machine_with_its_registers() {
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
    // int3, without a handler: a triple fault, but for a KVM that emulates the guest's kernel.
    let Some((mut machine, _output)) = run(1, &[&[0xcc]]) else {
        return;
    };
    let registers = match wait(&mut *machine, LONG) {
        Some(VmExit::TripleFault { registers }) => registers,
        Some(VmExit::Stuck { reason, registers }) => {
            assert!(reason.contains("rip 0x100000"), "{reason}");
            registers
        }
        other => panic!("{other:?}"),
    };
    assert!(show(&registers, "rip 0000000000100000"), "{registers:?}");
}

#[test]
fn any_port_may_be_written_and_read() {
    ends(
        &[
            &[0x31, 0xd2], // xor edx, edx
            // next: out dx, al; out dx, ax; out dx, eax; in al, dx; in ax, dx; in eax, dx
            &[0x31, 0xc0], // xor eax, eax
            &[0xee, 0x66, 0xef, 0xef, 0xec, 0x66, 0xed, 0xed],
            &[0x83, 0xc2, 0x1d],                   // add edx, 29
            &[0x81, 0xfa, 0x00, 0x00, 0x01, 0x00], // cmp edx, 0x10000
            &[0x72, 0xeb],                         // jb next
        ],
        RESET,
    );
}

#[test]
fn any_device_register_may_be_written_and_read() {
    ends(
        &[
            MAP_DEVICES,
            &[0xbf, 0x00, 0x00, 0x00, 0xd0], // mov edi, 0xd0000000
            // next: mov [rdi], edi; mov eax, [rdi]; mov [rdi+1], al; mov rax, [rdi+3]
            &[
                0x89, 0x3f, 0x8b, 0x07, 0x88, 0x47, 0x01, 0x48, 0x8b, 0x47, 0x03,
            ],
            &[0x83, 0xc7, 0x14],                   // add edi, 20
            &[0x81, 0xff, 0x00, 0x50, 0x00, 0xd0], // cmp edi, 0xd0005000
            &[0x72, 0xea],                         // jb next
        ],
        RESET,
    );
}

#[test]
fn what_a_machine_did_is_counted() {
    // Three bytes on the serial port, and a read of a device's register.
    let read: &[u8] = &[0xbf, 0x00, 0x00, 0x00, 0xd0, 0x8b, 0x07]; // mov edi, 0xd0000000; mov eax, [rdi]
    for end in [RESET, &[0xfa, 0xf4, 0xeb, 0xfd]] {
        let code: [&[u8]; 6] = [MAP_DEVICES, read, ARRIVED, ARRIVED, ARRIVED, end];
        let Some((mut machine, mut output)) = run(1, &code) else {
            return;
        };
        let mut said = [0; 3];
        output.read_exact(&mut said).unwrap();
        if end == RESET {
            assert_eq!(wait(&mut *machine, LONG), Some(VmExit::Guest));
        }
        let stats = machine.stats().unwrap();
        assert!(
            stats.exits["mmio"] >= 1 && stats.exits["port"] >= 3,
            "{stats:?}"
        );
        let names: Vec<_> = stats.devices.iter().map(|device| &*device.name).collect();
        assert_eq!(names, ["block", "console", "rng"]);
        assert!(stats.devices.iter().all(|device| device.operations == 0));
        // The kernel of a host before 5.14 counts nothing.
        if let Some(exits) = stats.kvm.get("exits") {
            assert!(*exits >= 4, "{stats:?}");
        }
        let (guest, peak) = (stats.guest_memory.unwrap(), stats.memory_peak.unwrap());
        assert!(guest >= 4096 && guest < peak && peak < 1 << 30, "{stats:?}");
    }
}

#[test]
fn halting_for_ever_is_no_hang() {
    // cli; hlt; jmp to the hlt
    goes_on_until_stopped(&[&[0xfa, 0xf4, 0xeb, 0xfd]]);
}

#[test]
fn an_endless_loop_is_no_hang() {
    goes_on_until_stopped(&[&[0xeb, 0xfe]]);
}

#[test]
fn endless_notifications_are_no_hang() {
    goes_on_until_stopped(&[
        MAP_DEVICES,
        &[0xbf, 0x50, 0x00, 0x00, 0xd0], // mov edi, 0xd0000050
        // next: mov [rdi], eax; mov [rdi+0x1000], eax; jmp next
        &[0x89, 0x07, 0x89, 0x87, 0x00, 0x10, 0x00, 0x00, 0xeb, 0xf6],
    ]);
}

#[test]
fn endless_resets_of_a_device_are_no_hang() {
    goes_on_until_stopped(&[
        MAP_DEVICES,
        &[0xbf, 0x70, 0x00, 0x00, 0xd0, 0x31, 0xc0], // mov edi, 0xd0000070; xor eax, eax
        &[0x89, 0x07, 0xeb, 0xfc],                   // next: mov [rdi], eax; jmp next
    ]);
}

#[test]
fn the_serial_port_says_what_the_guest_says() {
    // mov dx, 0x3f8; mov al, 'h'; out dx, al; mov al, 'i'; out dx, al
    let code: [&[u8]; 2] = [
        &[0x66, 0xba, 0xf8, 0x03, 0xb0, b'h', 0xee, 0xb0, b'i', 0xee],
        RESET,
    ];
    let Some((mut machine, mut output)) = run(1, &code) else {
        return;
    };
    assert_eq!(wait(&mut *machine, LONG), Some(VmExit::Guest));
    drop(machine);
    let mut said = String::new();
    output.read_to_string(&mut said).unwrap();
    assert_eq!(said, "hi");
}

#[test]
fn a_serial_port_that_nobody_reads_is_no_hang() {
    // mov dx, 0x3f8; out dx, al; jmp to the out
    goes_on_until_stopped(&[&[0x66, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xfd]]);
}

#[test]
fn what_cannot_start_says_why() {
    let message = |config: VmConfig| match Kvm.start(config) {
        Ok(_) => panic!("it started"),
        Err(StartError::Config(message)) => message,
        Err(error @ StartError::Host { .. }) => error.to_string(),
    };
    if start(config(kernel(RESET).path().into())).is_none() {
        return;
    }
    let good = kernel(RESET);
    let with = |change: fn(&mut VmConfig)| {
        let mut config = config(good.path().into());
        change(&mut config);
        message(config)
    };
    assert!(with(|c| c.vcpus = 0).contains("vCPU"));
    assert!(with(|c| c.vcpus = 255).contains("255 vCPUs"));
    assert!(with(|c| c.memory = 0).contains("memory"));
    assert!(with(|c| c.memory = 4097).contains("memory"));
    assert!(with(|c| c.memory = 1 << 20).contains("1 MiB"));
    assert!(with(|c| c.kernel = "/nonexistent/vmlinux".into()).contains("/nonexistent/vmlinux"));
    assert!(with(|c| c.kernel = "/etc/passwd".into()).contains("/etc/passwd"));
    assert!(with(|c| c.command_line = "x".repeat(4000)).contains("4000"));
    assert!(with(|c| c.command_line = "a\0b".into()).contains("NUL"));
    assert!(
        with(|c| c.initramfs.push(InitramfsPart::Bytes(vec![0; 64 << 20]))).contains("too small")
    );
    let disks = |c: &mut VmConfig| {
        for _ in 0..100 {
            c.disks.push(Disk {
                path: c.kernel.clone(),
                serial: String::new(),
                writes: Writes::Refused,
            });
        }
    };
    assert!(with(disks).contains("whole number"));
    // More memory than any host has.
    assert!(with(|c| c.memory = 1 << 50).contains("memory"));
}
