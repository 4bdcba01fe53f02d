use std::time::Duration;

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::super::entropy::Entropy;
use super::super::rate::TokenBucket;
use super::super::testing::{
    ACKNOWLEDGE, DATA, DRIVER, DRIVER_OK, Descriptor, Driver, EVENT_INDEX, FEATURES_OK, INDIRECT,
    MEMORY_SIZE, NEEDS_RESET, NEXT, VERSION_1, WRITE,
};

const FAILED: u32 = 0x80;
const ALL: u32 = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;

/// A device of one queue that answers whatever is asked as often as it is asked.
fn entropy() -> Entropy {
    let plenty = 1 << 40;
    Entropy::with_limit(TokenBucket::new(plenty, plenty, Duration::from_secs(1)))
}

fn guest() -> Driver {
    Driver::started(entropy(), EVENT_INDEX)
}

#[test]
fn says_what_it_is() {
    let driver = Driver::new(entropy());
    assert_eq!(driver.read(0x00), u32::from_le_bytes(*b"virt"));
    assert_eq!(driver.read(0x04), 2);
    assert_eq!(driver.read(0x08), 4);
    assert_eq!(driver.read(0xfc), 0);
    assert_eq!(driver.read(0xb0), u32::MAX);
}

#[test]
fn answers_only_whole_registers() {
    let mut driver = Driver::new(entropy());
    for (offset, length) in [
        (0x00, 1),
        (0x00, 2),
        (0x00, 8),
        (0x01, 4),
        (0x02, 4),
        (0x18, 4),
        (0xff8, 4),
    ] {
        let mut data = vec![0xff; length];
        driver.transport.read(offset, &mut data);
        assert_eq!(data, vec![0; length], "{offset:#x}+{length}");
    }
    driver
        .transport
        .write(0x70, &[ACKNOWLEDGE.to_le_bytes()[0]]);
    driver.transport.write(0x71, &1_u32.to_le_bytes());
    driver.transport.write(0x1000_0000, &1_u32.to_le_bytes());
    assert_eq!(driver.status(), 0);
}

#[test]
fn takes_only_features_that_it_offers() {
    for (features, accepted) in [
        (VERSION_1, true),
        (VERSION_1 | EVENT_INDEX, true),
        (EVENT_INDEX, false),
        (VERSION_1 | 1 << 40, false),
        (VERSION_1 | 1, false),
        (0, false),
    ] {
        let mut driver = Driver::new(entropy());
        driver.negotiate(features);
        assert_eq!(
            driver.status() & FEATURES_OK != 0,
            accepted,
            "{features:#x}"
        );
    }
}

#[test]
fn features_are_fixed_once_accepted() {
    let mut driver = Driver::new(entropy());
    driver.negotiate(VERSION_1);
    driver.write(0x24, 0);
    driver.write(0x20, u32::try_from(EVENT_INDEX).unwrap());
    driver.set_up_rings();
    driver.add_status(DRIVER_OK);
    assert_eq!(driver.status(), ALL);
    // Were it taken, the flag would not count, and the event index 0 would ask for an interrupt.
    let flags = GuestAddress(driver.rings[0].available);
    driver.memory.write_obj(1_u16, flags).unwrap();
    driver.add(0, &[(DATA, 1, WRITE)]);
    driver.run();
    assert_eq!(driver.used(0), Some((0, 1)));
    assert_eq!(driver.read(0x60), 0);
}

#[test]
fn a_driver_that_skips_the_negotiation_must_reset() {
    let mut driver = Driver::new(entropy());
    driver.write(0x70, ACKNOWLEDGE | DRIVER | DRIVER_OK);
    assert!(driver.is_broken());
    assert_eq!(driver.read(0x60), 2);
    driver.write(0x70, 0);
    assert_eq!(driver.status(), 0);
    assert_eq!(driver.read(0x60), 0);
    driver.start(0);
}

#[test]
fn status_bits_stay_until_reset() {
    let mut driver = guest();
    driver.write(0x70, ACKNOWLEDGE);
    assert_eq!(driver.status(), ALL);
    driver.write(0x70, 0x80);
    assert_eq!(driver.status(), ALL | 0x80);
    driver.write(0x70, 0xffff_ff00);
    assert_eq!(driver.status(), ALL | 0x80);
    driver.write(0x70, NEEDS_RESET);
    assert!(!driver.is_broken());
}

#[test]
fn a_driver_that_failed_is_served_again_after_a_reset() {
    let mut driver = guest();
    driver.add_status(FAILED);
    driver.add(0, &[(DATA, 16, WRITE)]);
    driver.run();
    assert_eq!(driver.used(0), None);
    assert_eq!(driver.status(), ALL | FAILED);
    driver.write(0x70, 0);
    driver.start(EVENT_INDEX);
    driver.add(0, &[(DATA, 16, WRITE)]);
    driver.run();
    assert_eq!(driver.used(0), Some((0, 16)));
}

#[test]
fn nothing_happens_before_the_driver_is_ready() {
    let mut driver = Driver::new(entropy());
    driver.negotiate(VERSION_1);
    driver.set_up_rings();
    driver.add(0, &[(DATA, 16, WRITE)]);
    driver.write(0x50, 0);
    driver.run();
    assert_eq!(driver.used(0), None);
    driver.add_status(DRIVER_OK);
    driver.run();
    assert_eq!(driver.used(0), Some((0, 16)));
}

#[test]
fn a_notification_of_any_value_is_only_a_hint() {
    let mut driver = guest();
    for value in [0_u32, 7, u32::MAX] {
        assert!(driver.transport.write(0x50, &value.to_le_bytes()));
        driver.run();
        assert!(!driver.is_broken());
    }
    // A register is written whole or not at all.
    assert!(!driver.transport.write(0x50, &[0, 0]));
    assert!(!driver.transport.write(0x52, &[0; 4]));
}

#[test]
fn refuses_rings_that_cannot_be() {
    let size_max = 16;
    for (size, descriptors, available, used) in [
        (0, 0, 0x2000, 0x3000),
        (3, 0, 0x2000, 0x3000),
        (size_max * 2, 0, 0x2000, 0x3000),
        (size_max, 8, 0x2000, 0x3000),
        (size_max, 0, 0x2001, 0x3000),
        (size_max, 0, 0x2000, 0x3002),
        (size_max, MEMORY_SIZE, 0x2000, 0x3000),
        (size_max, MEMORY_SIZE - 16, 0x2000, 0x3000),
        (size_max, 0, MEMORY_SIZE - 2, 0x3000),
        (size_max, 0, 0x2000, MEMORY_SIZE - 4),
        (size_max, 0xd000_0000, 0x2000, 0x3000),
        (size_max, 0, 0xd000_0000, 0x3000),
        (size_max, u64::MAX - 15, 0x2000, 0x3000),
        (size_max, 0, u64::MAX - 1, 0x3000),
        (size_max, 0, 0x2000, u64::MAX - 3),
        (size_max, 0, 0, 0x3000),
    ] {
        let mut driver = Driver::new(entropy());
        driver.negotiate(VERSION_1);
        driver.set_up_rings();
        driver.write(0x44, 0);
        let mut ring = driver.rings.remove(0);
        (ring.size, ring.descriptors, ring.available, ring.used) =
            (size, descriptors, available, used);
        driver.program_ring(&ring);
        driver.add_status(DRIVER_OK);
        assert!(driver.is_broken(), "{ring:x?}");
        driver.run();
    }
}

#[test]
fn queues_belong_to_the_device_once_it_is_active() {
    let mut driver = guest();
    driver.write(0x44, 0);
    assert_eq!(driver.read(0x44), 1);
    driver.write(0x90, 0xdead_0000);
    driver.add(0, &[(DATA, 64, WRITE)]);
    driver.run();
    assert_eq!(driver.used(0), Some((0, 64)));
}

#[test]
fn a_queue_left_out_stays_empty() {
    let mut driver = Driver::new(entropy());
    driver.negotiate(VERSION_1);
    driver.add_status(DRIVER_OK);
    assert_eq!(driver.status(), ALL);
    driver.run();
    assert!(!driver.is_broken());
}

#[test]
fn selectors_out_of_range_do_nothing() {
    let mut driver = guest();
    for select in [1, 0xffff, u32::MAX] {
        driver.write(0x30, select);
        assert_eq!(driver.read(0x34), 0);
        assert_eq!(driver.read(0x44), 0);
        driver.write(0x44, 1);
        driver.write(0x14, select.max(2));
        assert_eq!(driver.read(0x10), 0);
    }
}

#[test]
fn works_again_after_a_reset_with_requests_offered() {
    let mut driver = guest();
    for round in 0..3 {
        driver.add(0, &[(DATA, 16, WRITE)]);
        driver.write(0x70, 0);
        driver.run();
        assert_eq!(driver.used(0), None, "round {round}");
        driver.start(EVENT_INDEX);
        driver.add(0, &[(DATA, 16, WRITE)]);
        driver.run();
        assert_eq!(driver.used(0), Some((0, 16)));
    }
}

#[test]
fn rings_wrap() {
    let mut driver = guest();
    for round in 0..70_000_u32 {
        let head = driver.add(0, &[(DATA, 1, WRITE)]);
        driver.run();
        assert_eq!(driver.used(0), Some((head.into(), 1)), "round {round}");
    }
}

#[test]
fn interrupts_only_when_asked_for() {
    for (features, quiet_flags, expected) in [(0, 0_u16, 1), (0, 1, 0), (EVENT_INDEX, 1, 1)] {
        let mut driver = Driver::started(entropy(), features);
        let flags = GuestAddress(driver.rings[0].available);
        driver.memory.write_obj(quiet_flags, flags).unwrap();
        driver.add(0, &[(DATA, 1, WRITE)]);
        driver.run();
        assert_eq!(driver.read(0x60), expected);
        driver.write(0x64, 1);
        assert_eq!(driver.read(0x60), 0);
    }
    // With event indices, the driver says at which request it wants to be interrupted.
    let mut driver = guest();
    let event = GuestAddress(driver.rings[0].available + 4 + 2 * u64::from(driver.rings[0].size));
    driver.memory.write_obj(2_u16, event).unwrap();
    for expected in [0, 0, 1] {
        driver.add(0, &[(DATA, 1, WRITE)]);
        driver.run();
        assert_eq!(driver.read(0x60), expected);
    }
}

#[test]
fn asks_for_the_next_notification() {
    let mut driver = guest();
    let event = driver.rings[0].used + 4 + 8 * u64::from(driver.rings[0].size);
    for count in 1..=3_u16 {
        driver.add(0, &[(DATA, 1, WRITE)]);
        driver.run();
        let asked: u16 = driver.memory.read_obj(GuestAddress(event)).unwrap();
        assert_eq!(asked, count);
    }
}

/// A chain that is wrong in some way, put into a ring.
fn wrong(offer: impl FnOnce(&mut Driver)) {
    let mut driver = guest();
    offer(&mut driver);
    driver.run();
    assert!(driver.is_broken());
    assert_eq!(driver.read(0x60) & 2, 2, "the driver is told");
    // Nothing moves until the reset, and then everything does.
    driver.run();
    driver.write(0x70, 0);
    driver.start(EVENT_INDEX);
    driver.add(0, &[(DATA, 8, WRITE)]);
    driver.run();
    assert_eq!(driver.used(0), Some((0, 8)));
}

#[test]
fn malformed_chains_stop_the_device() {
    let piece = |address, length, flags, next| Descriptor {
        address,
        length,
        flags,
        next,
    };
    // A loop, of one and of two.
    wrong(|d| {
        d.describe(0, 0, piece(DATA, 1, NEXT | WRITE, 0));
        d.offer(0, 0);
    });
    wrong(|d| {
        d.describe(0, 0, piece(DATA, 1, NEXT | WRITE, 1));
        d.describe(0, 1, piece(DATA, 1, NEXT | WRITE, 0));
        d.offer(0, 0);
    });
    // Out of the table: the head, and a next one.
    wrong(|d| d.offer(0, 16));
    wrong(|d| d.offer(0, u16::MAX));
    wrong(|d| {
        d.describe(0, 0, piece(DATA, 1, NEXT | WRITE, 16));
        d.offer(0, 0);
    });
    // Out of memory: behind it, over its end, around the address space.
    for (address, length) in [
        (MEMORY_SIZE, 1),
        (MEMORY_SIZE - 1, 2),
        (DATA, u32::MAX),
        (u64::MAX, 2),
        (0xd000_0000, 4),
    ] {
        wrong(|d| {
            d.add(0, &[(address, length, WRITE)]);
        });
    }
    // Readable after writable.
    wrong(|d| {
        d.add(0, &[(DATA, 1, WRITE), (DATA, 1, 0)]);
    });
    // More requests than places.
    wrong(|d| {
        let index = GuestAddress(d.rings[0].available + 2);
        d.memory.write_obj(17_u16, index).unwrap();
    });
}

#[test]
fn indirect_tables_are_checked_as_chains_are() {
    let table = DATA + 0x1000;
    let piece = |address, length, flags, next| Descriptor {
        address,
        length,
        flags,
        next,
    };
    let mut driver = guest();
    driver.add_indirect(0, table, &[(DATA, 4, WRITE), (DATA + 64, 4, WRITE)]);
    driver.run();
    assert_eq!(driver.used(0), Some((0, 8)));

    // As many descriptors as a chain may have, and one more.
    let long = |d: &mut Driver, count| {
        d.add_indirect(0, table, &vec![(DATA, 1, WRITE); count]);
    };
    let mut driver = guest();
    long(&mut driver, 1024);
    driver.run();
    assert_eq!(driver.used(0), Some((0, 1024)));
    wrong(|d| long(d, 1025));

    for (length, flags) in [(0, 0), (8, 0), (17, 0), (u32::MAX, 0), (32, INDIRECT)] {
        wrong(|d| {
            d.describe_at(table, piece(table, 16, flags | WRITE, 0));
            d.add(0, &[(table, length, INDIRECT)]);
        });
    }
    wrong(|d| {
        d.describe_at(table, piece(DATA, 4, NEXT | WRITE, 0));
        d.add(0, &[(table, 32, INDIRECT)]);
    });
    wrong(|d| {
        d.describe_at(MEMORY_SIZE - 16, piece(DATA, 4, NEXT | WRITE, 1));
        d.add(0, &[(MEMORY_SIZE - 16, 32, INDIRECT)]);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever is written to the registers, nothing panics and the device can be started again.
    #[test]
    fn any_register_writes_leave_the_device_usable(
        writes in prop::collection::vec((0_u64..0x120, any::<u32>(), 0_usize..3), 0..200)
    ) {
        let mut driver = guest();
        for (offset, value, kind) in writes {
            match kind {
                0 => driver.write(offset & !3, value),
                1 => driver.write(0x70, value & 0xff),
                _ => { driver.read(offset & !3); }
            }
            driver.run();
        }
        driver.write(0x70, 0);
        driver.start(EVENT_INDEX);
        driver.add(0, &[(DATA, 8, WRITE)]);
        driver.run();
        prop_assert_eq!(driver.used(0), Some((0, 8)));
    }
}
