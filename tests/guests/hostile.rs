//! What misbehaving guests do to a machine with a disk, a console, random bytes and a balloon, in this
//! order. docs/threat-model.md has the same table.

use super::{Descriptor, INDIRECT, NEXT, Program, Rings, WRITE};

/// Bytes of the guest's memory.
pub(crate) const MEMORY: u64 = 64 << 20;

const DISK: u64 = 0;
const CONSOLE: u64 = 1;
const RANDOM: u64 = 2;
const BALLOON: u64 = 3;

const MULTIPORT: u32 = 1 << 1;
/// Behind kernel and steps.
const RINGS: Rings = Rings::at(0x40_0000);
const MORE_RINGS: Rings = Rings::at(0x41_0000);
const BUFFERS: u64 = 0x80_0000;
const MMIO: Rings = Rings::at(0xd000_0000);

/// How a guest should end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It says that it arrived, and resets itself: what it waited for has happened.
    Arrives,
    /// It says that it arrived and halts; nothing of the host has anything to do any more.
    Rests,
    /// It goes on for ever, and the host can stop it.
    GoesOn,
}

/// All of them, by name.
pub(crate) fn guests() -> Vec<(&'static str, End, Program)> {
    let mut guests = vec![
        ("resets in flight", End::Arrives, resets_in_flight()),
        ("a control message of all memory", End::Arrives, {
            let length = u32::try_from(MEMORY - BUFFERS).unwrap();
            one_request(CONSOLE, MULTIPORT, 3, &[(BUFFERS, length, 0, 0)]).until_used(RINGS, 1)
        }),
        ("random bytes into all memory", End::Rests, {
            let length = u32::try_from(MEMORY - BUFFERS).unwrap();
            one_request(RANDOM, 0, 0, &[(BUFFERS, length, WRITE, 0)]).until_used(RINGS, 1)
        }),
        ("free pages that are none", End::Arrives, {
            let kernel = (0x10_0000, 0x1000, 0, 0);
            one_request(BALLOON, 1 << 5, 2, &[kernel]).until_used(RINGS, 1)
        }),
        (
            "notifications in a tight loop",
            End::GoesOn,
            notifications(),
        ),
        (
            "a console flood that nobody reads",
            End::GoesOn,
            console_flood(),
        ),
        (
            "rings on top of each other",
            End::Rests,
            overlapping_rings(),
        ),
        ("resets in a tight loop", End::GoesOn, {
            let program = Program::default();
            let here = program.here();
            program
                .start(DISK, 0, &[(0, 256, RINGS)])
                .reset(DISK)
                .goto(here)
        }),
        (
            "a device after the other broken, then silence",
            End::Rests,
            {
                let mut program = Program::default();
                for device in [DISK, CONSOLE, RANDOM, BALLOON] {
                    program = program
                        .start(device, 0, &[(0, 16, MMIO)])
                        .until_broken(device);
                }
                program
            },
        ),
    ];
    for (name, descriptors) in chains() {
        let program = one_request(DISK, 0, 0, &descriptors).until_broken(DISK);
        guests.push((name, End::Arrives, program));
    }
    for (name, rings) in rings() {
        let program = Program::default()
            .start(DISK, 0, &[(0, 256, rings)])
            .until_broken(DISK);
        guests.push((name, End::Arrives, program));
    }
    guests.push(("more requests than places", End::Arrives, {
        Program::default()
            .start(DISK, 0, &[(0, 16, RINGS)])
            .write16(RINGS.available + 2, 0x8000)
            .notify(DISK, 0)
            .until_broken(DISK)
    }));
    guests.push(("a control message of 4 GiB", End::Arrives, {
        one_request(CONSOLE, MULTIPORT, 3, &[(BUFFERS, u32::MAX, 0, 0)]).until_broken(CONSOLE)
    }));
    guests
        .into_iter()
        .map(|(name, end, program)| {
            let program = match end {
                End::Arrives => program.arrive().end(),
                End::Rests => program.arrive(),
                End::GoesOn => program,
            };
            (name, end, program)
        })
        .collect()
}

/// Chains of descriptors that a disk must not follow.
fn chains() -> Vec<(&'static str, Vec<Descriptor>)> {
    let header = (BUFFERS, 16, NEXT, 1);
    vec![
        ("a loop of one descriptor", vec![(BUFFERS, 16, NEXT, 0)]),
        (
            "a loop of two descriptors",
            vec![header, (BUFFERS, 512, NEXT | WRITE, 0)],
        ),
        (
            "a chain out of its table",
            vec![(BUFFERS, 16, NEXT, 0xffff)],
        ),
        (
            "a chain over the end of memory",
            vec![header, (MEMORY - 16, 4096, WRITE, 0)],
        ),
        (
            "a chain over the end of addresses",
            vec![header, (u64::MAX - 15, 4096, WRITE, 0)],
        ),
        (
            "a chain into the devices' registers",
            vec![header, (0xd000_0000, 512, WRITE, 0)],
        ),
        (
            "an indirect table in itself",
            vec![(RINGS.descriptors, 16, INDIRECT, 0)],
        ),
        (
            "an indirect table of 4 GiB",
            vec![(BUFFERS, u32::MAX - 15, INDIRECT, 0)],
        ),
        (
            "an indirect table outside memory",
            vec![(MEMORY, 4096, INDIRECT, 0)],
        ),
    ]
}

/// Rings where none can be.
fn rings() -> Vec<(&'static str, Rings)> {
    vec![
        ("rings in the devices' registers", MMIO),
        ("rings over the end of memory", Rings::at(MEMORY - 0x1800)),
        ("rings outside memory", Rings::at(MEMORY)),
        (
            "rings at the end of addresses",
            Rings::at(u64::MAX - 0x2fff),
        ),
        (
            "rings out of line",
            Rings {
                descriptors: RINGS.descriptors + 8,
                ..RINGS
            },
        ),
    ]
}

/// A device with one queue, and a request of these descriptors in it.
fn one_request(device: u64, features: u32, queue: u32, descriptors: &[Descriptor]) -> Program {
    let mut program = Program::default().start(device, features, &[(queue, 16, RINGS)]);
    for (index, &descriptor) in (0..).zip(descriptors) {
        program = program.describe(RINGS, index, descriptor);
    }
    program.offer(RINGS, &[0]).notify(device, queue)
}

/// Reads of much of the disk, of which none is waited for, then one that is.
fn resets_in_flight() -> Program {
    let (header, status) = ((BUFFERS, 16, NEXT, 1), (BUFFERS + 16, 1, WRITE, 0));
    let data = (BUFFERS + 0x1000, 1 << 20, NEXT | WRITE, 2);
    let mut program = Program::default();
    for (index, descriptor) in (0..).zip([header, data, status]) {
        program = program.describe(RINGS, index, descriptor);
    }
    for round in 0..20 {
        program = program
            .write16(RINGS.used + 2, 0)
            .offer(RINGS, &[0; 16])
            .start(DISK, 0, &[(0, 16, RINGS)])
            .notify(DISK, 0)
            // From at once to after some of the requests.
            .pause(1 + round * 500)
            .reset(DISK);
    }
    program
        .write16(RINGS.used + 2, 0)
        .offer(RINGS, &[0])
        .start(DISK, 0, &[(0, 16, RINGS)])
        .notify(DISK, 0)
        .until_used(RINGS, 1)
}

fn notifications() -> Program {
    let mut program = Program::default().start(DISK, 0, &[(0, 16, RINGS)]);
    let here = program.here();
    for device in [DISK, CONSOLE, RANDOM, BALLOON] {
        program = program.notify(device, 0).notify(device, 0xffff_ffff);
    }
    program.goto(here)
}

/// A megabyte in each of 16 buffers, and notifications for ever.
fn console_flood() -> Program {
    let mut program = Program::default().start(CONSOLE, 0, &[(1, 16, RINGS)]);
    for index in 0..16 {
        program = program
            .describe(RINGS, index, (BUFFERS, 1 << 20, 0, 0))
            .write16(RINGS.available + 4 + u64::from(index) * 2, index);
    }
    program = program.add16(RINGS.available + 2, 16);
    let here = program.here();
    program.notify(CONSOLE, 1).goto(here)
}

/// What the device writes to each used ring stands in an available ring.
fn overlapping_rings() -> Program {
    let other = Rings {
        used: RINGS.available,
        ..MORE_RINGS
    };
    let rings = Rings {
        used: MORE_RINGS.available,
        ..RINGS
    };
    Program::default()
        .describe(rings, 0, (BUFFERS, 16, 0, 0))
        .describe(other, 0, (BUFFERS, 16, 0, 0))
        .start(BALLOON, 0, &[(0, 16, rings), (1, 16, other)])
        .offer(rings, &[0; 16])
        .notify(BALLOON, 0)
        .pause(1000)
}
