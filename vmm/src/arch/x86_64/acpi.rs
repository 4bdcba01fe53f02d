//! ACPI tables: a hardware-reduced machine of CPUs, an I/O APIC, virtio-mmio devices and perhaps a
//! serial port (ACPI 6.5, sections 3.11.1 and 5.2).

use acpi_tables::aml::{
    Device, EISAName, IO, Interrupt, Memory32Fixed, Name, Package, Path, ResourceTemplate, Scope,
};
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::madt::{
    EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic,
};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{Aml, aml};
use vm_memory::GuestAddress;

use super::layout;
use super::ports::{RESET_COMMAND, SLEEP_TYPE_OFF};
use crate::devices::{MMIO_STRIDE, MmioSlot};

const OEM_ID: [u8; 6] = *b"TERRAR";
const OEM_TABLE_ID: [u8; 8] = *b"TERRARIU";
const OEM_REVISION: u32 = 1;
const DSDT_REVISION: u8 = 2; // integers have 64 bits
const HEADER_SIZE: u32 = 36;

/// `IAPC_BOOT_ARCH`: no VGA and no CMOS clock; no keyboard controller and no legacy devices either,
/// as their bits are not set.
const BOOT_ARCHITECTURE: u16 = 1 << 2 | 1 << 5;

/// All tables, for [`layout::ACPI_TABLES`].
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) bytes: Vec<u8>,
    pub(super) rsdp: GuestAddress,
}

/// Describes a machine of so many CPUs with these devices.
pub(super) fn tables(vcpus: u8, devices: &[MmioSlot], serial: bool) -> Tables {
    let mut tables = Tables {
        bytes: Vec::new(),
        rsdp: layout::ACPI_TABLES,
    };
    let dsdt = tables.add(&dsdt(devices, serial));
    let fadt = tables.add(&fadt(dsdt));
    let madt = tables.add(&madt(vcpus));
    let mut xsdt = XSDT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    xsdt.add_entry(fadt.0);
    xsdt.add_entry(madt.0);
    let xsdt = tables.add(&xsdt);
    tables.rsdp = tables.add(&Rsdp::new(OEM_ID, xsdt.0));
    tables
}

impl Tables {
    fn add(&mut self, table: &dyn Aml) -> GuestAddress {
        self.bytes.resize(self.bytes.len().next_multiple_of(16), 0);
        let offset = u64::try_from(self.bytes.len()).unwrap_or(u64::MAX);
        table.to_aml_bytes(&mut self.bytes);
        GuestAddress(layout::ACPI_TABLES.0 + offset)
    }
}

fn fadt(dsdt: GuestAddress) -> impl Aml {
    let io = |port: u16| {
        GAS::new(
            AddressSpace::SystemIo,
            8,
            0,
            AccessSize::ByteAccess,
            port.into(),
        )
    };
    let mut fadt = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .dsdt_64(dsdt.0)
        .flag(Flags::Wbinvd)
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton)
        .flag(Flags::ResetRegSup)
        .flag(Flags::HwReducedAcpi);
    fadt.iapc_boot_arch = BOOT_ARCHITECTURE.into();
    fadt.reset_reg = io(layout::KEYBOARD_COMMAND_PORT);
    fadt.reset_value = RESET_COMMAND;
    fadt.sleep_control_reg = io(layout::SLEEP_CONTROL_PORT);
    fadt.sleep_status_reg = io(layout::SLEEP_CONTROL_PORT + 1);
    fadt.finalize()
}

fn madt(vcpus: u8) -> MADT {
    let mut madt = MADT::new(
        OEM_ID,
        OEM_TABLE_ID,
        OEM_REVISION,
        LocalInterruptController::Address(layout::LOCAL_APIC),
    );
    for id in 0..vcpus {
        madt.add_structure(ProcessorLocalApic::new(id, id, EnabledStatus::Enabled));
    }
    madt.add_structure(IoApic::new(0, layout::IO_APIC, 0));
    madt
}

fn dsdt(devices: &[MmioSlot], serial: bool) -> Sdt {
    let mut code = Vec::new();
    let sleep_type = SLEEP_TYPE_OFF;
    Name::new(
        Path::new("_S5_"),
        &Package::new(vec![&sleep_type, &aml::ZERO]),
    )
    .to_aml_bytes(&mut code);
    for (index, slot) in devices.iter().enumerate() {
        virtio_device(index, slot, &mut code);
    }
    if serial {
        serial_device(&mut code);
    }
    let mut dsdt = Sdt::new(
        *b"DSDT",
        HEADER_SIZE,
        DSDT_REVISION,
        OEM_ID,
        OEM_TABLE_ID,
        OEM_REVISION,
    );
    dsdt.append_slice(&code);
    dsdt
}

/// The registers and the interrupt of a device that Linux's `virtio_mmio` driver takes.
fn virtio_device(index: usize, slot: &MmioSlot, code: &mut Vec<u8>) {
    let base = u32::try_from(slot.address).unwrap_or(u32::MAX);
    let size = u32::try_from(MMIO_STRIDE).unwrap_or(u32::MAX);
    Scope::new(
        Path::new("_SB_"),
        vec![&Device::new(
            Path::new(&format!("V{index:03}")),
            vec![
                &Name::new(Path::new("_HID"), &"LNRO0005"),
                &Name::new(Path::new("_UID"), &index),
                &Name::new(
                    Path::new("_CRS"),
                    &ResourceTemplate::new(vec![
                        &Memory32Fixed::new(true, base, size),
                        &Interrupt::new(true, true, false, false, slot.gsi),
                    ]),
                ),
            ],
        )],
    )
    .to_aml_bytes(code);
}

fn serial_device(code: &mut Vec<u8>) {
    Scope::new(
        Path::new("_SB_"),
        vec![&Device::new(
            Path::new("COM1"),
            vec![
                &Name::new(Path::new("_HID"), &EISAName::new("PNP0501")),
                &Name::new(Path::new("_UID"), &aml::ZERO),
                &Name::new(
                    Path::new("_CRS"),
                    &ResourceTemplate::new(vec![
                        &IO::new(layout::SERIAL_PORT, layout::SERIAL_PORT, 1, 8),
                        &Interrupt::new(true, true, false, false, layout::SERIAL_GSI),
                    ]),
                ),
            ],
        )],
    )
    .to_aml_bytes(code);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{MAX_DEVICES, MAX_VCPUS};

    fn slots(count: usize) -> Vec<MmioSlot> {
        (0..count)
            .map(|index| MmioSlot::new(index).unwrap())
            .collect()
    }

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    fn at(tables: &Tables, address: u64) -> &[u8] {
        &tables.bytes[usize::try_from(address - layout::ACPI_TABLES.0).unwrap()..]
    }

    /// The table at an address, as long as it says it is.
    fn table(tables: &Tables, address: u64) -> &[u8] {
        let bytes = at(tables, address);
        let length = u32::from_le_bytes(bytes[4..8].try_into().unwrap());
        &bytes[..usize::try_from(length).unwrap()]
    }

    fn pointer(bytes: &[u8], offset: usize) -> u64 {
        u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap())
    }

    #[test]
    fn every_table_is_found_and_adds_up() {
        let tables = tables(4, &slots(3), true);
        let rsdp = &at(&tables, tables.rsdp.0)[..36];
        assert_eq!(&rsdp[..8], b"RSD PTR ");
        assert_eq!((sum(&rsdp[..20]), sum(rsdp)), (0, 0));
        let xsdt = table(&tables, pointer(rsdp, 24));
        let fadt = table(&tables, pointer(xsdt, 36));
        let madt = table(&tables, pointer(xsdt, 44));
        let dsdt = table(&tables, pointer(fadt, 140));
        for (table, name) in [
            (xsdt, b"XSDT"),
            (fadt, b"FACP"),
            (madt, b"APIC"),
            (dsdt, b"DSDT"),
        ] {
            assert_eq!(&table[..4], name);
            assert_eq!(sum(table), 0, "{name:?}");
        }
        // Four CPUs of 8 bytes and an I/O APIC of 12.
        assert_eq!(madt.len(), 44 + 4 * 8 + 12);
        let count = |name: &[u8]| dsdt.windows(name.len()).filter(|w| w == &name).count();
        assert_eq!(count(b"LNRO0005\0"), 3);
        assert_eq!(count(b"COM1"), 1);
        assert_eq!(count(b"_S5_"), 1);
    }

    #[test]
    fn the_largest_machine_fits() {
        let largest = tables(MAX_VCPUS, &slots(MAX_DEVICES), true);
        let room = layout::MP_TABLE.0 - layout::ACPI_TABLES.0;
        assert!(u64::try_from(largest.bytes.len()).unwrap() <= room);
    }
}
