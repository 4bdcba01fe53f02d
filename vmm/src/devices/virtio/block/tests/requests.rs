//! Requests: what is taken, in which form, and what is refused.

use super::*;

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
    for mut guest in guests() {
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
    assert_eq!(guest.finished(), (0, 513));
    assert_eq!(guest.driver.get(DATA, 512), base_bytes(512, 512));
    assert_eq!(guest.driver.get(DATA + 512, 1), [OK]);
}

#[test]
fn takes_as_many_pieces_as_it_says() {
    // All of the disk, in pieces of which none is a sector.
    let lengths: Vec<u32> = [135; 253].into_iter().chain([149]).collect();
    assert_eq!(lengths.len(), usize::try_from(MAX_SEGMENTS).unwrap());
    let pieces = |flags| -> Vec<(u64, u32, u16)> {
        let places = (0..).map(|index| DATA + index * 256);
        let lengths = lengths.iter();
        places.zip(lengths).map(|(p, &l)| (p, l, flags)).collect()
    };
    for mut guest in guests() {
        let (status, written) = guest.request(READ, 0, &pieces(WRITE));
        assert_eq!((status, u64::from(written)), (OK, SECTORS * SECTOR + 1));
        let mut read = Vec::new();
        for (place, length, _) in pieces(0) {
            read.extend(guest.driver.get(place, usize::try_from(length).unwrap()));
            guest.driver.put(place, &[7]);
        }
        assert_eq!(read, base_bytes(0, read.len()));

        assert_eq!(guest.request(WRITE_DATA, 0, &pieces(0)), (OK, 1));
        let all = [(
            DATA + 0x2_0000,
            u32::try_from(SECTORS * SECTOR).unwrap(),
            WRITE,
        )];
        assert_eq!(guest.request(READ, 0, &all).0, OK);
        let mut place = 0;
        for &length in &lengths {
            read[place] = 7;
            place += usize::try_from(length).unwrap();
        }
        assert!(guest.driver.get(DATA + 0x2_0000, read.len()) == read);
        assert!(guest.base_is_untouched());
    }
}

#[test]
fn a_request_in_more_pieces_stops_the_device() {
    for (pieces, is_taken) in [(254, true), (255, false), (1000, false)] {
        let mut guest = guest();
        guest.put_header(READ, 0);
        let mut all = vec![(HEADER, 16, 0)];
        all.extend(std::iter::repeat_n((DATA, 2, WRITE), pieces));
        all.push((STATUS, 1, WRITE));
        guest.driver.add_indirect(0, DATA + 0x1_0000, &all);
        guest.driver.run();
        assert_eq!(guest.driver.is_broken(), !is_taken, "{pieces}");
    }
}

#[test]
fn takes_indirect_requests() {
    let mut guest = guest();
    guest.put_header(READ, 2);
    let pieces = [(HEADER, 16, 0), (DATA, 512, WRITE), (STATUS, 1, WRITE)];
    guest.driver.add_indirect(0, DATA + 0x1_0000, &pieces);
    assert_eq!(guest.finished(), (0, 513));
    assert_eq!(guest.driver.get(DATA, 512), base_bytes(1024, 512));
}

#[test]
fn stays_within_the_disk() {
    for mut guest in guests() {
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
    let mut guest = guest_with(Writes::Refused, Kind::Any);
    assert_eq!(guest.driver.read(0x10) & 1 << 5, 1 << 5);
    assert_eq!(guest.write(0, &[1; 512]), IO_ERROR);
    assert_eq!(guest.range(DISCARD, 0, 8, 0), IO_ERROR);
    assert_eq!(guest.range(WRITE_ZEROES, 0, 8, 0), IO_ERROR);
    assert_eq!(guest.read(0, 1), base_bytes(0, 512));
    assert!(guest.base_is_untouched());
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
    disk.path = file.path().into();
    disk.writes = Writes::InFile {
        folder: "/nonexistent/folder".into(),
    };
    assert!(message(&disk).contains("/nonexistent/folder"));
}
