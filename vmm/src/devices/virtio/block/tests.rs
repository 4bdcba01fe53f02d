use std::io::Write as _;

use proptest::prelude::*;
use tempfile::NamedTempFile;

use super::super::testing::{DATA, Descriptor, Driver, EVENT_INDEX, INDIRECT, MEMORY_SIZE, WRITE};
use super::*;

const READ: u32 = 0;
const WRITE_DATA: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;

const OK: u8 = 0;
const IO_ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;

const STATUS: u64 = DATA - 16;
const HEADER: u64 = DATA - 32;
const SECTORS: u64 = 67; // the last page is a short one

struct Guest {
    driver: Driver,
    base: NamedTempFile,
}

/// Every byte of the base says where it is.
fn base_byte(offset: usize) -> u8 {
    u8::try_from((offset / 512 * 7 + offset) % 251).unwrap()
}

fn base_bytes(offset: usize, length: usize) -> Vec<u8> {
    (offset..offset + length).map(base_byte).collect()
}

fn guest_with(writes: Writes) -> Guest {
    let mut base = NamedTempFile::new().unwrap();
    let size = usize::try_from(SECTORS * SECTOR).unwrap();
    base.write_all(&base_bytes(0, size)).unwrap();
    let device = Block::new(&Disk {
        path: base.path().into(),
        serial: "disk-0".into(),
        writes,
    });
    Guest {
        driver: Driver::started(device.unwrap(), EVENT_INDEX),
        base,
    }
}

fn guest() -> Guest {
    guest_with(Writes::InMemory)
}

impl Guest {
    /// Sends a request with `pieces` between header and status. Returns the status and the number
    /// of bytes that the device says it wrote.
    fn request(&mut self, kind: u32, sector: u64, pieces: &[(u64, u32, u16)]) -> (u8, u32) {
        self.put_header(kind, sector);
        let mut all = vec![(HEADER, 16, 0)];
        all.extend_from_slice(pieces);
        all.push((STATUS, 1, WRITE));
        self.driver.add(0, &all);
        self.driver.run();
        assert!(!self.driver.is_broken());
        let (_, written) = self.driver.used(0).unwrap();
        (self.driver.get(STATUS, 1)[0], written)
    }

    fn put_header(&self, kind: u32, sector: u64) {
        let mut header = kind.to_le_bytes().to_vec();
        header.extend_from_slice(&[0; 4]);
        header.extend_from_slice(&sector.to_le_bytes());
        self.driver.put(HEADER, &header);
        self.driver.put(STATUS, &[0xee]);
    }

    fn read(&mut self, sector: u64, sectors: u32) -> Vec<u8> {
        let bytes = sectors * 512;
        let outcome = self.request(READ, sector, &[(DATA, bytes, WRITE)]);
        assert_eq!(outcome, (OK, bytes + 1));
        self.driver.get(DATA, usize::try_from(bytes).unwrap())
    }

    fn write(&mut self, sector: u64, bytes: &[u8]) -> u8 {
        self.driver.put(DATA, bytes);
        let length = u32::try_from(bytes.len()).unwrap();
        self.request(WRITE_DATA, sector, &[(DATA, length, 0)]).0
    }

    fn range(&mut self, kind: u32, sector: u64, sectors: u32, flags: u32) -> u8 {
        let mut range = sector.to_le_bytes().to_vec();
        range.extend_from_slice(&sectors.to_le_bytes());
        range.extend_from_slice(&flags.to_le_bytes());
        self.driver.put(DATA, &range);
        self.request(kind, 0, &[(DATA, 16, 0)]).0
    }

    fn base_is_untouched(&self) -> bool {
        let size = usize::try_from(SECTORS * SECTOR).unwrap();
        std::fs::read(self.base.path()).unwrap() == base_bytes(0, size)
    }
}

#[test]
fn describes_itself() {
    let guest = guest();
    assert_eq!(guest.driver.read(0x100), u32::try_from(SECTORS).unwrap());
    assert_eq!(guest.driver.read(0x104), 0);
    assert_eq!(guest.driver.read(0x10c), 254);
    let mut data = [0xff; 8];
    guest.driver.transport.read(0x100 + 56, &mut data);
    assert_eq!(data, [1, 0, 0, 0, 0, 0, 0, 0]);
    guest.driver.transport.read(0xfff, &mut data);
    assert_eq!(data, [0; 8]);
}

#[test]
fn reads_the_base_in_pieces() {
    let mut guest = guest();
    let pieces = [
        (DATA, 100, WRITE),
        (DATA + 0x1000, 412, WRITE),
        (DATA + 0x3000, 512, WRITE),
    ];
    assert_eq!(guest.request(READ, 3, &pieces), (OK, 1025));
    let mut read = guest.driver.get(DATA, 100);
    read.extend(guest.driver.get(DATA + 0x1000, 412));
    read.extend(guest.driver.get(DATA + 0x3000, 512));
    assert_eq!(read, base_bytes(3 * 512, 1024));
}

#[test]
fn takes_requests_however_they_are_cut() {
    let mut guest = guest();
    guest.put_header(READ, 1);
    // The header in three pieces, the status in one with the data.
    guest.driver.add(
        0,
        &[
            (HEADER, 1, 0),
            (HEADER + 1, 9, 0),
            (HEADER + 10, 6, 0),
            (DATA, 513, WRITE),
        ],
    );
    guest.driver.run();
    assert_eq!(guest.driver.used(0), Some((0, 513)));
    assert_eq!(guest.driver.get(DATA, 512), base_bytes(512, 512));
    assert_eq!(guest.driver.get(DATA + 512, 1), [OK]);
}

#[test]
fn takes_indirect_requests() {
    let mut guest = guest();
    guest.put_header(READ, 2);
    let table = DATA + 0x1_0000;
    for (index, (address, length, flags)) in
        (0_u16..).zip([(HEADER, 16, 1), (DATA, 512, 1 | WRITE), (STATUS, 1, WRITE)])
    {
        let descriptor = Descriptor {
            address,
            length,
            flags,
            next: index + 1,
        };
        guest
            .driver
            .describe_at(table + u64::from(index) * 16, descriptor);
    }
    guest.driver.add(0, &[(table, 48, INDIRECT)]);
    guest.driver.run();
    assert_eq!(guest.driver.used(0), Some((0, 513)));
    assert_eq!(guest.driver.get(DATA, 512), base_bytes(1024, 512));
}

#[test]
fn writes_are_seen_by_reads_and_not_by_the_base() {
    let mut guest = guest();
    // Within a page, across two, over a whole one, and into the short last one.
    for (sector, sectors) in [(1, 1_u32), (7, 2), (8, 8), (15, 18), (SECTORS - 1, 1)] {
        let bytes =
            vec![u8::try_from(sector + 100).unwrap(); usize::try_from(sectors).unwrap() * 512];
        assert_eq!(guest.write(sector, &bytes), OK);
        assert_eq!(guest.read(sector, sectors), bytes);
    }
    assert_eq!(guest.read(0, 1), base_bytes(0, 512));
    assert_eq!(guest.read(2, 5), base_bytes(2 * 512, 5 * 512));
    assert_eq!(guest.read(33, 33), base_bytes(33 * 512, 33 * 512));
    // One read over private and base pages alike.
    let all = guest.read(0, u32::try_from(SECTORS).unwrap());
    assert_eq!(&all[512..1024], [101; 512]);
    assert_eq!(&all[66 * 512..], [166; 512]);
    assert!(guest.base_is_untouched());
    assert_eq!(guest.request(FLUSH, 0, &[]), (OK, 1));
}

#[test]
fn stays_within_the_disk() {
    let mut guest = guest();
    for (sector, bytes) in [
        (SECTORS, 512),
        (SECTORS - 1, 1024),
        (u64::MAX, 512),
        (u64::MAX / 512, 512),
        (u64::MAX / 512 + 1, 512),
        (0, 511),
        (0, 1),
    ] {
        assert_eq!(
            guest.request(READ, sector, &[(DATA, bytes, WRITE)]),
            (IO_ERROR, 0)
        );
        assert_eq!(
            guest.request(WRITE_DATA, sector, &[(DATA, bytes, 0)]).0,
            IO_ERROR
        );
    }
    assert_eq!(guest.request(READ, SECTORS, &[]).0, OK);
    assert!(guest.base_is_untouched());
}

#[test]
fn refuses_more_data_than_any_driver_sends() {
    let mut guest = guest();
    // The same megabyte, many times.
    let pieces = vec![(0, u32::try_from(MEMORY_SIZE).unwrap(), WRITE); 60];
    guest.put_header(READ, 0);
    guest.driver.put(DATA + 0x2_0000, &[0; 16]);
    let mut all = vec![(DATA + 0x2_0000, 16, 0)];
    all.extend(pieces);
    guest.driver.add(0, &all);
    guest.driver.run();
    assert_eq!(guest.driver.get(MEMORY_SIZE - 1, 1), [IO_ERROR]);
}

#[test]
fn says_its_serial_number() {
    let mut guest = guest();
    assert_eq!(guest.request(GET_ID, 0, &[(DATA, 20, WRITE)]), (OK, 21));
    assert_eq!(
        guest.driver.get(DATA, 20),
        b"disk-0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    );
    // A shorter and a longer buffer.
    assert_eq!(guest.request(GET_ID, 0, &[(DATA, 4, WRITE)]), (OK, 5));
    assert_eq!(guest.request(GET_ID, 0, &[(DATA, 64, WRITE)]).0, OK);
}

#[test]
fn a_read_only_disk_refuses_changes() {
    let mut guest = guest_with(Writes::Refused);
    assert_eq!(guest.driver.read(0x10) & 1 << 5, 1 << 5);
    assert_eq!(guest.write(0, &[1; 512]), IO_ERROR);
    assert_eq!(guest.range(DISCARD, 0, 8, 0), IO_ERROR);
    assert_eq!(guest.range(WRITE_ZEROES, 0, 8, 0), IO_ERROR);
    assert_eq!(guest.read(0, 1), base_bytes(0, 512));
    assert!(guest.base_is_untouched());
}

#[test]
fn zeroes_ranges() {
    for flags in [0, 1] {
        for (sector, sectors) in [(0, 8), (3, 2), (7, 10), (1, 63), (60, 7), (0, 67)] {
            let mut guest = guest();
            assert_eq!(guest.write(9, &[9; 512]), OK);
            let mut expected = guest.read(0, 67);
            let range = usize::try_from(sector).unwrap() * 512
                ..usize::try_from(sector + u64::from(sectors)).unwrap() * 512;
            expected[range].fill(0);
            assert_eq!(guest.range(WRITE_ZEROES, sector, sectors, flags), OK);
            assert!(guest.read(0, 67) == expected, "{sector}+{sectors}");
        }
    }
}

#[test]
fn discards_give_whole_pages_back() {
    let mut guest = guest();
    assert_eq!(guest.write(0, &[1; 512 * 67]), OK);
    assert_eq!(guest.range(DISCARD, 7, 10, 0), OK);
    // What was discarded is the base's again; what shares a page with other data stays.
    assert_eq!(guest.read(7, 1), [1; 512]);
    assert_eq!(guest.read(8, 8), base_bytes(8 * 512, 8 * 512));
    assert_eq!(guest.read(16, 1), [1; 512]);
    // The short page at the end is a whole one.
    assert_eq!(guest.range(DISCARD, 64, 3, 0), OK);
    assert_eq!(guest.read(64, 3), base_bytes(64 * 512, 3 * 512));
}

#[test]
fn checks_ranges() {
    let mut guest = guest();
    for (kind, allowed_flags) in [(DISCARD, 0), (WRITE_ZEROES, 1)] {
        assert_eq!(guest.range(kind, SECTORS, 1, 0), IO_ERROR);
        assert_eq!(guest.range(kind, u64::MAX, 1, 0), IO_ERROR);
        assert_eq!(guest.range(kind, 0, u32::MAX, 0), UNSUPPORTED);
        assert_eq!(guest.range(kind, 0, 1, allowed_flags + 1), UNSUPPORTED);
        assert_eq!(guest.range(kind, SECTORS, 0, 0), OK);
        assert_eq!(guest.request(kind, 0, &[]).0, UNSUPPORTED);
        assert_eq!(guest.request(kind, 0, &[(DATA, 15, 0)]).0, UNSUPPORTED);
        assert_eq!(guest.request(kind, 0, &[(DATA, 17 * 16, 0)]).0, UNSUPPORTED);
    }
    assert_eq!(guest.read(0, 67), base_bytes(0, 67 * 512));
}

#[test]
fn unknown_requests_are_answered() {
    let mut guest = guest();
    for kind in [2, 3, 5, 14, 0x8000_0000, u32::MAX] {
        assert_eq!(
            guest.request(kind, 0, &[(DATA, 512, WRITE)]),
            (UNSUPPORTED, 0)
        );
    }
}

#[test]
fn a_request_without_header_or_status_stops_the_device() {
    for pieces in [
        &[(HEADER, 15, 0), (STATUS, 1, WRITE)][..],
        &[(STATUS, 1, WRITE)],
        &[(HEADER, 16, 0)],
        &[(HEADER, 16, 0), (DATA, 512, 0)],
        &[(HEADER, 16, 0), (STATUS, 0, WRITE)],
    ] {
        let mut guest = guest();
        guest.put_header(READ, 0);
        guest.driver.add(0, pieces);
        guest.driver.run();
        assert!(guest.driver.is_broken(), "{pieces:?}");
    }
}

#[test]
fn a_base_that_shrinks_is_an_error_of_the_read() {
    let mut guest = guest();
    guest.base.as_file().set_len(4096).unwrap();
    assert_eq!(guest.request(READ, 8, &[(DATA, 512, WRITE)]).0, IO_ERROR);
    assert_eq!(guest.write(9, &[1; 512]), IO_ERROR);
    assert_eq!(guest.write(8, &[1; 4096]), OK);
    assert_eq!(guest.read(8, 8), [1; 4096]);
}

#[test]
fn refuses_disks_that_cannot_be() {
    let mut file = NamedTempFile::new().unwrap();
    let mut disk = Disk {
        path: file.path().into(),
        serial: "0".into(),
        writes: Writes::InMemory,
    };
    let message = |disk: &Disk| Block::new(disk).unwrap_err().to_string();
    assert!(message(&disk).contains("0 bytes"));
    file.write_all(&[0; 513]).unwrap();
    assert!(message(&disk).contains("513 bytes"));
    disk.serial = "x".repeat(21);
    assert!(message(&disk).contains("serial number"));
    disk.path = "/nonexistent/disk".into();
    disk.serial = String::new();
    assert!(message(&disk).contains("/nonexistent/disk"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any mix of changes leaves what a plain array would have.
    #[test]
    fn agrees_with_an_array(
        steps in prop::collection::vec((0_u32..4, 0_u64..SECTORS, 1_u32..20, any::<u8>()), 1..40)
    ) {
        let mut guest = guest();
        let mut model = base_bytes(0, usize::try_from(SECTORS * SECTOR).unwrap());
        for (kind, sector, sectors, value) in steps {
            let sectors = sectors.min(u32::try_from(SECTORS - sector).unwrap());
            let start = usize::try_from(sector).unwrap() * 512;
            let end = start + usize::try_from(sectors).unwrap() * 512;
            match kind {
                0 => {
                    prop_assert_eq!(guest.write(sector, &vec![value; end - start]), OK);
                    model[start..end].fill(value);
                }
                1 => {
                    prop_assert_eq!(guest.range(WRITE_ZEROES, sector, sectors, 1), OK);
                    model[start..end].fill(0);
                }
                2 => {
                    prop_assert_eq!(guest.range(DISCARD, sector, sectors, 0), OK);
                    let last = if end == model.len() { end } else { end / 4096 * 4096 };
                    let first = start.next_multiple_of(4096);
                    if first < last {
                        model[first..last].copy_from_slice(&base_bytes(first, last - first));
                    }
                }
                _ => prop_assert!(guest.read(sector, sectors) == model[start..end]),
            }
        }
        prop_assert!(guest.read(0, u32::try_from(SECTORS).unwrap()) == model);
        prop_assert!(guest.base_is_untouched());
    }

    /// Whatever stands in the rings, the device comes to rest and the base stays as it is.
    #[test]
    fn any_rings_are_survived(
        descriptors in prop::collection::vec(
            (0_u64..MEMORY_SIZE + 4096, 0_u32..0x2_0000, 0_u16..8, 0_u16..10), 8),
        heads in prop::collection::vec(0_u16..10, 1..8),
        kind in 0_u32..16,
    ) {
        let mut guest = guest();
        guest.put_header(kind, 1);
        for (index, (address, length, flags, next)) in (0..).zip(descriptors) {
            let (address, length) = if index % 3 == 0 { (HEADER, 16) } else { (address, length) };
            guest.driver.describe(0, index, Descriptor { address, length, flags, next });
        }
        for head in heads {
            guest.driver.offer(0, head);
        }
        guest.driver.run();
        prop_assert!(guest.base_is_untouched());
    }
}
