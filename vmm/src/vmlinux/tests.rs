//! Kernels of a few bytes, whole and damaged.

use std::io::{Read, Seek, Write};

use tempfile::NamedTempFile;

use super::relocations::tests::table;
use super::*;

/// Where the kernel is linked to be: its one segment, of which the note is the last part.
const ADDRESS: u64 = 0x100_0000;
const SEGMENT: usize = 64 + 2 * 56;
const SIZE: usize = 64;
const NOTE: usize = 40;
const PVH_ENTRY: usize = SEGMENT + NOTE + 16;

/// An ELF file that says what it is, with nothing behind it.
fn elf() -> Vec<u8> {
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for word in [ADDRESS, 64, 0] {
        elf.extend_from_slice(&word.to_le_bytes());
    }
    elf.extend_from_slice(&0_u32.to_le_bytes());
    for half in [64_u16, 56, 2, 64, 0, 0] {
        elf.extend_from_slice(&half.to_le_bytes());
    }
    let segments = [(1_u32, 0, SIZE), (4, NOTE, SIZE - NOTE)];
    for (kind, offset, size) in segments {
        elf.extend_from_slice(&kind.to_le_bytes());
        elf.extend_from_slice(&7_u32.to_le_bytes());
        let [place, offset, size] = [SEGMENT, offset, size].map(|value| value as u64);
        let address = ADDRESS + offset;
        for word in [place + offset, address, address, size, size, 4] {
            elf.extend_from_slice(&word.to_le_bytes());
        }
    }
    elf.resize(SEGMENT + NOTE, 0xff);
    for word in [4_u32, 8, 18] {
        elf.extend_from_slice(&word.to_le_bytes());
    }
    elf.extend_from_slice(b"Xen\0");
    elf.extend_from_slice(&(ADDRESS + 8).to_le_bytes());
    elf
}

/// The place of a byte of the segment.
fn place(offset: usize) -> u32 {
    u32::try_from(ADDRESS).unwrap() + u32::try_from(offset).unwrap()
}

fn file(parts: &[&[u8]]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(&parts.concat()).unwrap();
    file
}

fn open(file: &NamedTempFile) -> Result<Vmlinux, StartError> {
    Vmlinux::open(file.path(), true)
}

#[test]
fn a_kernel_without_relocations_stays_where_it_was_linked() {
    let file = file(&[&elf()]);
    let kernel = open(&file).unwrap();
    assert!(!kernel.moves());
    assert_eq!(kernel.range(), ADDRESS..ADDRESS + SIZE as u64);
    assert_eq!(kernel.random_distance(PHYSICAL_END).unwrap(), 0);
}

#[test]
fn relocations_are_read_only_if_wanted() {
    let file = file(&[&elf(), b"damaged"]);
    assert!(!Vmlinux::open(file.path(), false).unwrap().moves());
}

#[test]
fn distances_are_random_aligned_and_leave_the_kernel_before_the_end() {
    let file = file(&[&elf(), &table(&[&[], &[], &[]])]);
    let kernel = open(&file).unwrap();
    let end = 64 << 20;
    let distances: Vec<_> = (0..200)
        .map(|_| kernel.random_distance(end).unwrap())
        .collect();
    let most = distances.iter().copied().max().unwrap();
    assert!(distances.iter().all(|distance| distance % ALIGNMENT == 0));
    assert!(kernel.range().end + most <= end);
    // Of 24 places; that fewer than half of them are met has a chance of less than 10^-70.
    let met: std::collections::BTreeSet<_> = distances.into_iter().collect();
    assert!(met.len() > 12, "{met:?}");
    for none in [0, kernel.range().end, kernel.range().end + ALIGNMENT - 1] {
        assert_eq!(kernel.random_distance(none).unwrap(), 0);
    }
}

#[test]
fn a_moved_file_has_other_addresses_and_the_same_contents() {
    let distance = 6 << 20;
    // The note's entry point may be among the relocations; it is moved once in either case.
    for wide in [&[place(0)][..], &[place(0), place(NOTE + 16)]] {
        let file = file(&[&elf(), &table(&[wide, &[], &[place(8)]])]);
        let kernel = open(&file).unwrap();
        let mut moved = Vec::new();
        let mut copy = kernel.moved(distance).unwrap();
        copy.rewind().unwrap();
        copy.read_to_end(&mut moved).unwrap();

        let mut expected = std::fs::read(file.path()).unwrap();
        let mut add = |at: usize| {
            let word = u64::from_le_bytes(expected[at..at + 8].try_into().unwrap());
            let word = word.wrapping_add(distance);
            expected[at..at + 8].copy_from_slice(&word.to_le_bytes());
        };
        // The entry points and the segments' physical addresses, then the relocation of each size.
        for at in [24, 64 + 24, 64 + 56 + 24, PVH_ENTRY, SEGMENT] {
            add(at);
        }
        expected[SEGMENT + 8..SEGMENT + 12].copy_from_slice(&0x5f_ffff_u32.to_le_bytes());
        assert_eq!(moved, expected);
    }
}

#[test]
fn damaged_files_are_refused() {
    let long = vec![0; usize::try_from(MAX_TABLE).unwrap() + 4];
    let mut beyond = elf();
    beyond[64 + 8..64 + 16].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut empty = elf();
    empty[56] = 0;
    let mut high = elf();
    high[64 + 24..64 + 32].copy_from_slice(&u64::MAX.to_le_bytes());
    for (parts, reason) in [
        (&[&b"#!/bin/sh"[..]][..], "not an ELF vmlinux"),
        (&[&elf()[..63]], "not an ELF vmlinux"),
        (&[&elf()[..100]], "not an ELF vmlinux"),
        (&[&empty], "not an ELF vmlinux"),
        (&[&high], "not an ELF vmlinux"),
        (&[&elf()[..SEGMENT + 8]], "relocations are damaged"),
        (&[&beyond], "relocations are damaged"),
        (&[&elf(), b"x"], "relocations are damaged"),
        (&[&elf(), &table(&[&[place(0)]])], "relocations are damaged"),
        (&[&elf(), &long], "relocations are damaged"),
    ] {
        let file = file(parts);
        let error = open(&file).unwrap_err().to_string();
        assert!(error.contains(reason), "{reason}: {error}");
        assert!(error.contains(file.path().to_str().unwrap()), "{error}");
    }
}

#[test]
fn relocations_outside_of_the_kernel_are_refused() {
    for groups in [
        [&[place(0) - 1][..], &[], &[]],
        [&[place(SIZE)], &[], &[]],
        [&[], &[place(SIZE)], &[]],
        [&[], &[], &[0x7fff_ffff]],
    ] {
        let file = file(&[&elf(), &table(&groups)]);
        let error = open(&file).unwrap().moved(ALIGNMENT);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("a relocation is outside of it"), "{error}");
    }
}
