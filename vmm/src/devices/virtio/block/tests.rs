use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::NamedTempFile;
use vm_memory::{Bytes, GuestAddress};

use super::super::testing::{
    DATA, DRIVER_OK, Descriptor, Driver, EVENT_INDEX, INDIRECT, MEMORY_SIZE, WRITE,
};
use super::super::{Chain, Segment};
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

fn base() -> NamedTempFile {
    let mut base = NamedTempFile::new().unwrap();
    let size = usize::try_from(SECTORS * SECTOR).unwrap();
    base.write_all(&base_bytes(0, size)).unwrap();
    base
}

fn in_file() -> Writes {
    Writes::InFile {
        folder: std::env::temp_dir(),
    }
}

fn block(base: &NamedTempFile, writes: Writes, kind: Kind) -> Block {
    let mut device = Block::new(&Disk {
        path: base.path().into(),
        serial: "disk-0".into(),
        writes,
    })
    .unwrap();
    device.engine_kind = kind;
    device
}

fn guest_with(writes: Writes, kind: Kind) -> Guest {
    let base = base();
    Guest {
        driver: Driver::started(block(&base, writes, kind), EVENT_INDEX),
        base,
    }
}

fn guest() -> Guest {
    guest_with(Writes::InMemory, Kind::Any)
}

fn range_bytes(sector: u64, sectors: u32, flags: u32) -> Vec<u8> {
    let mut range = sector.to_le_bytes().to_vec();
    range.extend_from_slice(&sectors.to_le_bytes());
    range.extend_from_slice(&flags.to_le_bytes());
    range
}

fn small_memory() -> GuestRam {
    GuestRam::from_ranges(&[(GuestAddress(0), 0x1_0000)]).unwrap()
}

/// A request for sector 0 as the device gets it, without a driver before it.
fn chain(memory: &GuestRam, kind: u32, data: &[u8]) -> Chain {
    let mut header = [0; 16];
    header[..4].copy_from_slice(&kind.to_le_bytes());
    memory.write_slice(&header, GuestAddress(0)).unwrap();
    memory.write_slice(data, GuestAddress(4096)).unwrap();
    let segment = |address, length| Segment {
        address: GuestAddress(address),
        length,
    };
    Chain::of(
        vec![segment(0, 16), segment(4096, data.len())],
        vec![segment(64, 1)],
    )
}

/// Guests with every kind of writable disk.
fn guests() -> impl Iterator<Item = Guest> {
    let kinds = [Kind::Any, Kind::Threads].into_iter();
    kinds.flat_map(|kind| [Writes::InMemory, in_file()].map(|writes| guest_with(writes, kind)))
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
        let (_, written) = self.finished();
        (self.driver.get(STATUS, 1)[0], written)
    }

    /// The next request that the device has finished.
    fn finished(&mut self) -> (u32, u32) {
        loop {
            self.driver.run();
            assert!(!self.driver.is_broken());
            if let Some(used) = self.driver.used(0) {
                return used;
            }
            self.wait();
        }
    }

    /// Waits until the device's engine has done something.
    fn wait(&mut self) {
        let limit = Timespec {
            tv_sec: 20,
            tv_nsec: 0,
        };
        let ready = {
            let streams = self.driver.transport.host_streams();
            let mut fds = [PollFd::new(&streams[0], PollFlags::IN)];
            poll(&mut fds, Some(&limit)).unwrap()
        };
        assert_eq!(ready, 1, "nothing happens");
        let ready = HostReady {
            readable: true,
            writable: false,
            closed: false,
        };
        self.driver.transport.host_ready(0, ready);
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
        self.driver.put(DATA, &range_bytes(sector, sectors, flags));
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
    assert_eq!(guest.finished(), (0, 513));
    assert_eq!(guest.driver.get(DATA, 512), base_bytes(1024, 512));
}

#[test]
fn writes_are_seen_by_reads_and_not_by_the_base() {
    for mut guest in guests() {
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
fn zeroes_ranges() {
    for flags in [0, 1] {
        for (sector, sectors) in [(0, 8), (3, 2), (7, 10), (1, 63), (60, 7), (0, 67)] {
            for mut guest in guests() {
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
}

#[test]
fn what_was_discarded_is_the_bases_again() {
    for mut guest in guests() {
        assert_eq!(guest.write(0, &[1; 512 * 67]), OK);
        assert_eq!(guest.range(DISCARD, 7, 10, 0), OK);
        assert_eq!(guest.read(6, 1), [1; 512]);
        assert_eq!(guest.read(7, 10), base_bytes(7 * 512, 10 * 512));
        assert_eq!(guest.read(17, 1), [1; 512]);
        // What shares a page with it is written to again.
        assert_eq!(guest.write(8, &[2; 512]), OK);
        assert_eq!(guest.read(8, 1), [2; 512]);
        assert_eq!(guest.read(9, 8), base_bytes(9 * 512, 8 * 512));
        assert_eq!(guest.range(DISCARD, 64, 3, 0), OK);
        assert_eq!(guest.read(64, 3), base_bytes(64 * 512, 3 * 512));
    }
}

#[test]
fn memory_and_room_are_given_back() {
    for kind in [DISCARD, WRITE_ZEROES] {
        let (pages, blocks) = (Writes::InMemory, in_file());
        for (writes, is_memory) in [(pages, true), (blocks, false)] {
            let base = base();
            let mut device = block(&base, writes, Kind::Any);
            let taken = |device: &Block| match &device.disk.image.overlay {
                Overlay::Memory(mapping) => u64::try_from(mapping.resident_pages()).unwrap() * 8,
                Overlay::File(file) => file.metadata().unwrap().blocks(),
                Overlay::None => panic!("read-only"),
            };
            assert_eq!(taken(&device), 0);
            // The same steps that the device takes, without a driver before it.
            device
                .prepare(&(Arc::new(|| Ok(())) as Arc<Confine>))
                .unwrap();
            let memory = small_memory();
            let mut step = |request_kind: u32, data: &[u8]| {
                let chain = chain(&memory, request_kind, data);
                let mut task = Task::new(&memory, chain, &device.disk).unwrap();
                let mut budget = Budget::new(TURN);
                while let Step::Wait(operation) = task.step(&memory, &mut device.disk, &mut budget)
                {
                    let engine = device.engine.as_mut().unwrap();
                    engine.push(0, operation);
                    engine.drain(|(_, result)| task.completed(result, &mut device.disk));
                }
                taken(&device)
            };
            assert!(step(WRITE_DATA, &[1; 64 * 512]) >= 64, "{is_memory}");
            assert_eq!(step(kind, &range_bytes(0, 64, 0)), 0, "{is_memory}");
        }
    }
}

#[test]
fn checks_ranges() {
    for mut guest in guests() {
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
    for mut guest in guests() {
        guest.base.as_file().set_len(4096).unwrap();
        assert_eq!(guest.request(READ, 8, &[(DATA, 512, WRITE)]).0, IO_ERROR);
        assert_eq!(guest.request(READ, 7, &[(DATA, 1024, WRITE)]).0, IO_ERROR);
        // Writing takes nothing of the base.
        assert_eq!(guest.write(9, &[1; 512]), OK);
        assert_eq!(guest.read(9, 1), [1; 512]);
    }
}

#[test]
fn a_full_host_is_an_error_of_the_write() {
    for kind in [Kind::Any, Kind::Threads] {
        let base = base();
        let mut device = block(&base, in_file(), kind);
        device.disk.image.overlay = Overlay::File(
            std::fs::File::options()
                .read(true)
                .write(true)
                .open("/dev/full")
                .unwrap(),
        );
        let mut guest = Guest {
            driver: Driver::started(device, EVENT_INDEX),
            base,
        };
        assert_eq!(guest.write(3, &[1; 512]), IO_ERROR);
        assert_eq!(guest.read(3, 1), base_bytes(3 * 512, 512));
        assert!(!guest.driver.is_broken());
    }
}

#[test]
fn one_turn_is_bounded() {
    for kind in [Kind::Any, Kind::Threads] {
        let base = base();
        base.as_file().set_len(MEMORY_SIZE).unwrap();
        let mut guest = Guest {
            driver: Driver::started(block(&base, in_file(), kind), EVENT_INDEX),
            base,
        };
        guest.put_header(READ, 0);
        // 30 MiB.
        let requests = 60;
        for _ in 0..requests {
            let pieces = [(HEADER, 16, 0), (DATA, 1 << 19, WRITE), (STATUS, 1, WRITE)];
            guest.driver.add(0, &pieces);
        }
        assert_eq!(guest.driver.transport.process(), Progress::More);
        let mut finished = std::iter::from_fn(|| guest.driver.used(0)).count();
        assert!(finished <= 17, "{finished}");
        while finished < requests {
            guest.finished();
            finished += 1;
        }
    }
    // Many ranges of 256 MiB count as more than a turn.
    let mut budget = Budget::new(TURN);
    let base = base();
    base.as_file().set_len(1 << 30).unwrap();
    let mut device = block(&base, Writes::InMemory, Kind::Any);
    let memory = small_memory();
    let range = range_bytes(0, MAX_RANGE, 0);
    let mut task = Task::new(&memory, chain(&memory, DISCARD, &range), &device.disk).unwrap();
    task.step(&memory, &mut device.disk, &mut budget);
    assert!(budget.is_spent());
}

#[test]
fn any_number_of_requests_is_taken() {
    for mut guest in guests() {
        guest.put_header(READ, 1);
        let mut sent = 0;
        let mut finished = 0;
        while finished < 2000 {
            while sent < 2000 && sent - finished < 80 {
                guest.driver.add(
                    0,
                    &[(HEADER, 16, 0), (DATA, 512, WRITE), (STATUS, 1, WRITE)],
                );
                sent += 1;
            }
            assert_eq!(guest.finished().1, 513);
            finished += 1;
        }
    }
}

#[test]
fn a_reset_waits_for_what_is_under_way() {
    let base = base();
    let mut device = block(&base, Writes::InMemory, Kind::Threads);
    // The engine's threads are held up until told to go on.
    let (go_on, held) = mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let confine: Arc<Confine> = Arc::new(move || {
        let _ = held.lock().unwrap().recv();
        Ok(())
    });
    device.prepare(&confine).unwrap();
    let mut driver = Driver::started_as_prepared(device, EVENT_INDEX);
    driver.put(HEADER, &[0; 16]);
    driver.put(DATA, &[0xaa; 512]);
    driver.add(
        0,
        &[(HEADER, 16, 0), (DATA, 512, WRITE), (STATUS, 1, WRITE)],
    );
    driver.run();
    assert_eq!(driver.used(0), None);
    let (reset, done) = mpsc::channel();
    let resetting = thread::spawn(move || {
        driver.write(0x70, 0);
        reset.send(()).unwrap();
        driver
    });
    assert!(done.recv_timeout(Duration::from_millis(300)).is_err());
    drop(go_on);
    done.recv_timeout(Duration::from_secs(20)).unwrap();
    let mut driver = resetting.join().unwrap();
    // The read has ended before the reset did, and the driver hears no more of it.
    assert_eq!(driver.get(DATA, 512), base_bytes(0, 512));
    driver.put(DATA, &[0xbb; 512]);
    driver.start(EVENT_INDEX);
    driver.run();
    assert_eq!(driver.used(0), None);
    assert_eq!(driver.get(DATA, 512), [0xbb; 512]);
    assert_eq!(driver.status() & DRIVER_OK, DRIVER_OK);
}

#[test]
fn failures_leave_room_for_further_requests() {
    for kind in [Kind::Any, Kind::Threads] {
        let base = base();
        let mut device = block(&base, in_file(), kind);
        // Every write to it says that there is no room.
        let full = File::options().write(true).open("/dev/full").unwrap();
        device.disk.image.overlay = Overlay::File(full);
        let mut guest = Guest {
            driver: Driver::started(device, EVENT_INDEX),
            base,
        };
        // More than may be under way at once.
        let bytes = vec![1; 64 * 512];
        for _ in 0..=MAX_UNDER_WAY / (64 * 512) {
            assert_eq!(guest.write(0, &bytes), IO_ERROR);
        }
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any mix of changes leaves what a plain array would have.
    #[test]
    fn agrees_with_an_array(
        steps in prop::collection::vec((0_u32..4, 0_u64..SECTORS, 1_u32..20, any::<u8>()), 1..40),
        in_memory in any::<bool>(),
        threads in any::<bool>(),
    ) {
        let writes = if in_memory { Writes::InMemory } else { in_file() };
        let mut guest = guest_with(writes, if threads { Kind::Threads } else { Kind::Any });
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
                    model[start..end].copy_from_slice(&base_bytes(start, end - start));
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
        guest.driver.write(0x70, 0);
        prop_assert!(guest.base_is_untouched());
    }
}
