//! Where the guest's kernel is, as its own root sees it.

use std::collections::BTreeSet;
use std::env::consts::ARCH;

use crate::support::{output, shell};

/// The kernel's first address in its own address space, and in physical memory.
fn place<const N: usize>(options: [&str; N]) -> (String, String) {
    // Names of kernel symbols and addresses are hidden from others than root.
    let script = "grep -m 1 ' _stext$' /proc/kallsyms; grep 'Kernel code' /proc/iomem";
    let output = output(&mut shell(options, script));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines().map(str::trim_start);
    let virtual_place = lines.next().and_then(|line| line.split(' ').next());
    let physical = lines.next().and_then(|line| line.split('-').next());
    let said = String::from_utf8_lossy(&output.stderr);
    let place = |found: Option<&str>| found.unwrap_or_else(|| panic!("{text}{said}")).to_owned();
    (place(virtual_place), place(physical))
}

#[test]
fn kernels_start_at_other_addresses_each_time() {
    // Of two runs in a row, one in some hundred may meet the place of the other by chance.
    let places: Vec<_> = (0..3).map(|_| place([])).collect();
    let (virtual_places, physical): (BTreeSet<_>, BTreeSet<_>) = places.into_iter().unzip();
    assert!(virtual_places.len() > 1, "{virtual_places:?}");
    assert!(physical.len() > 1, "{physical:?}");
}

#[test]
fn kernels_start_where_they_were_linked_without_kaslr() {
    let (virtual_place, physical) = match ARCH {
        "x86_64" => ("ffffffff81000000", "01000000"),
        // Behind the modules' addresses and the device tree's 2 MiB, both with the header's 64 KiB.
        "aarch64" => ("ffff800008010000", "40210000"),
        other => panic!("no kernel is known for {other}"),
    };
    let linked = (virtual_place.to_owned(), physical.to_owned());
    assert_eq!(place(["--no-kaslr"]), linked);
}
