//! Much work at once, hosts that fail, drivers that let go.

use super::*;

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
        // More than may be under way at once: what failed is not.
        let bytes = vec![1; 64 * 512];
        for _ in 0..=MAX_UNDER_WAY / (64 * 512) {
            assert_eq!(guest.write(0, &bytes), IO_ERROR);
        }
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
}

fn sixteen_large_ranges() -> Vec<u8> {
    range_bytes(0, MAX_RANGE, 0).repeat(16)
}

/// How many turns a request takes by itself.
fn turns(device: &mut Block, memory: &GuestRam, chain: Chain) -> usize {
    let mut task = Task::new(memory, chain, &device.disk).unwrap();
    for turn in 1.. {
        let mut budget = Budget::new(TURN);
        loop {
            match task.step(memory, &mut device.disk, &mut budget) {
                Step::Finished(outcome) => {
                    outcome.unwrap();
                    return turn;
                }
                Step::Later => break,
                Step::Wait(operation) => {
                    let engine = device.engine.as_mut().unwrap();
                    engine.push(0, operation);
                    engine.drain(|(_, result)| task.completed(result, &mut device.disk));
                }
            }
        }
        assert!(budget.is_spent());
    }
    unreachable!()
}

#[test]
fn one_request_is_no_longer_than_a_turn() {
    let base = base();
    base.as_file().set_len(1 << 30).unwrap();
    let memory = small_memory();
    for writes in [Writes::InMemory, in_file()] {
        let mut device = block(&base, writes, Kind::Any);
        device
            .prepare(&(Arc::new(|| Ok(())) as Arc<Confine>))
            .unwrap();
        let discard = chain(&memory, DISCARD, &sixteen_large_ranges());
        assert_eq!(turns(&mut device, &memory, discard), 16);
        // Much data, to private sectors and from them.
        let piece = Segment {
            address: GuestAddress(8192),
            length: 56 << 10,
        };
        let mut write = chain(&memory, WRITE_DATA, &[]);
        write.readable.extend([piece; 250]);
        assert_eq!(turns(&mut device, &memory, write), 2);
        let mut read = chain(&memory, READ, &[]);
        read.writable.splice(0..0, [piece; 250]);
        assert_eq!(turns(&mut device, &memory, read), 2);
        device.disk.image.mark(0, 14 << 20, false);
        // Every other sector private.
        for sector in (0..8192).step_by(2) {
            device.disk.image.mark(sector * SECTOR, SECTOR, true);
        }
        let piece = Segment {
            address: GuestAddress(8192),
            length: 1 << 15,
        };
        let mut read = chain(&memory, READ, &[]);
        read.writable.splice(0..0, [piece; 128]);
        let turns = turns(&mut device, &memory, read);
        assert!((5..=10).contains(&turns), "{turns}");
    }
}

#[test]
fn a_request_of_more_turns_than_one_comes_to_its_end() {
    let base = base();
    base.as_file().set_len(1 << 30).unwrap();
    let device = block(&base, Writes::InMemory, Kind::Any);
    let driver = Driver::started(device, EVENT_INDEX);
    let mut guest = Guest { driver, base };
    guest.driver.put(DATA, &sixteen_large_ranges());
    guest.put_header(DISCARD, 0);
    let pieces = [(HEADER, 16, 0), (DATA, 256, 0), (STATUS, 1, WRITE)];
    guest.driver.add(0, &pieces);
    let mut turns = 1;
    while guest.driver.transport.process() == Progress::More {
        turns += 1;
    }
    assert_eq!(turns, 17);
    assert_eq!(guest.finished(), (0, 1));
    assert_eq!(guest.driver.get(STATUS, 1), [OK]);
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
    let mut device = block(&base, in_file(), Kind::Threads);
    // The engine's threads are held up until told to go on.
    let (go_on, held) = mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let confine: Arc<Confine> = Arc::new(move || {
        let _ = held.lock().unwrap().recv();
        Ok(())
    });
    device.prepare(&confine).unwrap();
    let driver = Driver::started_as_prepared(device, EVENT_INDEX);
    let guest = Guest { driver, base };
    guest.put_header(WRITE_DATA, 0);
    let Guest { mut driver, base } = guest;
    driver.put(DATA, &[0xaa; 512]);
    driver.add(0, &[(HEADER, 16, 0), (DATA, 512, 0), (STATUS, 1, WRITE)]);
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
    // The write has ended before the reset did, and the driver hears no more of it.
    driver.start(EVENT_INDEX);
    driver.run();
    assert_eq!(driver.used(0), None);
    assert_eq!(driver.status() & DRIVER_OK, DRIVER_OK);
    let mut guest = Guest { driver, base };
    assert_eq!(guest.read(0, 1), [0xaa; 512]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

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
