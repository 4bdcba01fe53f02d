//! Writes, zeroes and discarded ranges.

use super::*;

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
}
