//! The MultiProcessor table (Intel MultiProcessor Specification 1.4), for kernels that get no ACPI
//! tables: CPUs, and an I/O APIC whose inputs are the interrupts of the same number.

use super::layout;

const OEM_ID: &[u8; 8] = b"TERRARIU";
const PRODUCT_ID: &[u8; 12] = b"TERRARIUM   ";
const VERSION: u8 = 0x14;
const IO_APIC_VERSION: u8 = 0x11;
const CPU_ENABLED: u8 = 1;
const CPU_BOOT: u8 = 2;
const ISA_BUS: u8 = 0;
const POINTER_SIZE: u32 = 16;
const HEADER_SIZE: usize = 44;

/// Floating pointer and table, for [`layout::MP_TABLE`].
pub(super) fn table(vcpus: u8) -> Vec<u8> {
    let io_apic = vcpus;
    let mut entries = Vec::new();
    let mut count: u16 = 0;
    let mut add = |entry: &[u8]| {
        entries.extend_from_slice(entry);
        count += 1;
    };
    for id in 0..vcpus {
        let flags = CPU_ENABLED | if id == 0 { CPU_BOOT } else { 0 };
        let mut cpu = [0; 20];
        cpu[1] = id;
        cpu[2] = VERSION;
        cpu[3] = flags;
        add(&cpu);
    }
    add(&[1, ISA_BUS, b'I', b'S', b'A', b' ', b' ', b' ']);
    let [a, b, c, d] = layout::IO_APIC.to_le_bytes();
    add(&[2, io_apic, IO_APIC_VERSION, 1, a, b, c, d]);
    for gsi in (0..layout::GSI_COUNT).filter_map(|gsi| u8::try_from(gsi).ok()) {
        add(&[3, 0, 0, 0, ISA_BUS, gsi, io_apic, gsi]);
    }
    // Local interrupts: the legacy controller's and the non-maskable one, of every CPU.
    add(&[4, 3, 0, 0, ISA_BUS, 0, 0, 0]);
    add(&[4, 1, 0, 0, ISA_BUS, 0, 0xff, 1]);

    let length = u16::try_from(HEADER_SIZE + entries.len()).unwrap_or(u16::MAX);
    let mut header = Vec::with_capacity(HEADER_SIZE);
    header.extend_from_slice(b"PCMP");
    header.extend_from_slice(&length.to_le_bytes());
    header.extend_from_slice(&[4, 0]); // revision 1.4, checksum
    header.extend_from_slice(OEM_ID);
    header.extend_from_slice(PRODUCT_ID);
    header.extend_from_slice(&[0; 6]); // no OEM table
    header.extend_from_slice(&count.to_le_bytes());
    header.extend_from_slice(&layout::LOCAL_APIC.to_le_bytes());
    header.extend_from_slice(&[0; 4]); // no extended table
    header[7] = checksum(&header).wrapping_add(checksum(&entries));

    let pointer = u32::try_from(layout::MP_TABLE.0).unwrap_or(u32::MAX) + POINTER_SIZE;
    let mut table = Vec::new();
    table.extend_from_slice(b"_MP_");
    table.extend_from_slice(&pointer.to_le_bytes());
    table.extend_from_slice(&[1, 4, 0, 0, 0, 0, 0, 0]);
    table[10] = checksum(&table);
    table.append(&mut header);
    table.append(&mut entries);
    table
}

/// What makes the sum of all bytes zero.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::MAX_VCPUS;

    #[test]
    fn fits_its_place_and_adds_up() {
        for vcpus in [1, 4, MAX_VCPUS] {
            let table = table(vcpus);
            assert!(table.len() <= 0x1_0000);
            assert_eq!(checksum(&table[..16]), 0);
            assert_eq!(checksum(&table[16..]), 0);
            let entries = u16::from_le_bytes([table[16 + 34], table[16 + 35]]);
            assert_eq!(entries, u16::from(vcpus) + 28);
        }
    }
}
