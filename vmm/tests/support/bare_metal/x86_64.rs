//! Programs in the machine code of x86_64. They start in 64-bit mode, with the first GiB mapped one to one.

use vmm::config::Discovery;

use super::Programs;

/// Where programs are loaded.
const ADDRESS: u64 = 0x10_0000;

pub(super) const PROGRAMS: Programs = Programs {
    file,
    discovery: Discovery::Acpi,
    too_many_vcpus: Some(255),
    // mov al, 0xfe; out 0x64, al: a reset by the keyboard controller
    reset: &[0xb0, 0xfe, 0xe6, 0x64],
    // mov dx, 0x600; mov al, 0x34; out dx, al
    power_off: &[0x66, 0xba, 0x00, 0x06, 0xb0, 0x34, 0xee],
    // mov dx, 0x3f8; mov al, '.'; out dx, al
    arrived: &[0x66, 0xba, 0xf8, 0x03, 0xb0, b'.', 0xee],
    // mov dx, 0x3f8; mov al, 'h'; out dx, al; mov al, 'i'; out dx, al
    say_hi: &[0x66, 0xba, 0xf8, 0x03, 0xb0, b'h', 0xee, 0xb0, b'i', 0xee],
    // mov dx, 0x3f8; out dx, al; jmp to the out
    say_for_ever: &[0x66, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xfd],
    // cli; hlt; jmp to the hlt
    halt: &[0xfa, 0xf4, 0xeb, 0xfd],
    spin: &[0xeb, 0xfe],
    // 2 MiB one to one, by a table at 0x3000 below the page tables that the machine starts with.
    map_devices: &[
        0xb8, 0x03, 0x30, 0x00, 0x00, // mov eax, 0x3003
        0x48, 0x89, 0x04, 0x25, 0x18, 0xa0, 0x00, 0x00, // mov [0xa018], rax
        0xb8, 0x83, 0x00, 0x00, 0xd0, // mov eax, 0xd0000083
        0x48, 0x89, 0x04, 0x25, 0x00, 0x34, 0x00, 0x00, // mov [0x3400], rax
    ],
    touch_devices: &[
        0xbf, 0x00, 0x00, 0x00, 0xd0, // mov edi, 0xd0000000
        // next: mov [rdi], edi; mov eax, [rdi]; mov [rdi+1], al; mov rax, [rdi+3]
        0x89, 0x3f, 0x8b, 0x07, 0x88, 0x47, 0x01, 0x48, 0x8b, 0x47, 0x03, //
        0x83, 0xc7, 0x14, // add edi, 20
        0x81, 0xff, 0x00, 0x50, 0x00, 0xd0, // cmp edi, 0xd0005000
        0x72, 0xea, // jb next
    ],
    // mov edi, 0xd0000000; mov eax, [rdi]
    read_device: &[0xbf, 0x00, 0x00, 0x00, 0xd0, 0x8b, 0x07],
    notify_for_ever: &[
        0xbf, 0x50, 0x00, 0x00, 0xd0, // mov edi, 0xd0000050
        // next: mov [rdi], eax; mov [rdi+0x1000], eax; jmp next
        0x89, 0x07, 0x89, 0x87, 0x00, 0x10, 0x00, 0x00, 0xeb, 0xf6,
    ],
    reset_device_for_ever: &[
        0xbf, 0x70, 0x00, 0x00, 0xd0, 0x31, 0xc0, // mov edi, 0xd0000070; xor eax, eax
        0x89, 0x07, 0xeb, 0xfc, // next: mov [rdi], eax; jmp next
    ],
};

/// An ELF executable of one segment that starts with its first byte.
fn file(code: &[u8]) -> Vec<u8> {
    let mut elf = Vec::new();
    elf.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    for half in [2_u16, 62] {
        elf.extend_from_slice(&half.to_le_bytes());
    }
    elf.extend_from_slice(&1_u32.to_le_bytes());
    for word in [ADDRESS, 64, 0] {
        elf.extend_from_slice(&word.to_le_bytes());
    }
    elf.extend_from_slice(&0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 64, 0, 0] {
        elf.extend_from_slice(&half.to_le_bytes());
    }
    let size = u64::try_from(code.len()).unwrap();
    for word in [1_u32, 5] {
        elf.extend_from_slice(&word.to_le_bytes());
    }
    for word in [120, ADDRESS, ADDRESS, size, size, 1] {
        elf.extend_from_slice(&word.to_le_bytes());
    }
    elf.extend_from_slice(code);
    elf
}
