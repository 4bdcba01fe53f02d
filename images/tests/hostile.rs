//! Layers made to take the host's memory: each is stopped at its limit, before it has taken more.

#![allow(clippy::unwrap_used, reason = "failures of helpers fail the test")]

mod common;

use std::{fs, path::Path, process::Command};

use common::{
    archive::header,
    layout::{GZIP_LAYER, Layout, gzip},
    run,
};
use images::{Digest, DiskCache, Limits, Store};
use tar::{Builder, EntryType};

const FOLDER: &str = "TERRARIUM_TEST_FOLDER";
const LIMIT: &str = "TERRARIUM_TEST_LIMIT";
/// What may come on top of the limit, beside what an image of one file takes, in MiB: headers of 1 MiB
/// with all that is read out of them, and what the allocator keeps.
const WORKING: u64 = 12;

type Archive = Builder<Vec<u8>>;

fn file(archive: &mut Archive, name: &str, content: &[u8]) {
    let mut header = header(EntryType::Regular, content.len() as u64);
    archive.append_data(&mut header, name, content).unwrap();
}

fn attributes(archive: &mut Archive, count: usize) {
    let names: Vec<String> = (0..count)
        .map(|number| format!("SCHILY.xattr.user.{number}"))
        .collect();
    let records = names.iter().map(|name| (name.as_str(), &b"v"[..]));
    archive.append_pax_extensions(records).unwrap();
}

/// Makes an archive of what `entry` appends for each number below `count`.
fn repeat(count: usize, mut entry: impl FnMut(&mut Archive, usize)) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    for number in 0..count {
        entry(&mut archive, number);
    }
    archive.into_inner().unwrap()
}

/// A file in pieces of one byte, each of which takes a block of the disk.
fn pieces(archive: &mut Archive, name: &str, count: u64) {
    let map: Vec<String> = (0..count)
        .flat_map(|piece| [(piece * 8192).to_string(), "1".to_owned()])
        .collect();
    let size = (count * 8192).to_string();
    archive
        .append_pax_extensions([
            ("GNU.sparse.size", size.as_bytes()),
            ("GNU.sparse.map", map.join(",").as_bytes()),
        ])
        .unwrap();
    file(archive, name, &vec![1; usize::try_from(count).unwrap()]);
}

fn link(archive: &mut Archive, kind: EntryType, name: &str, target: &str) {
    archive
        .append_link(&mut header(kind, 0), name, target)
        .unwrap();
}

const FITS: &str = "it fits";
const MEMORY: &str = "bytes of names, attributes and zstd window";

/// Archives by what stops them, and the limit on memory in MiB. Those that fit do so narrowly: they
/// show that what is counted is at least what is taken, to the end.
fn cases() -> Vec<(&'static str, u64, Vec<u8>)> {
    let number = |number: usize| number.to_string();
    vec![
        (FITS, 48, repeat(1, |a, _| file(a, "f", b"1"))),
        (FITS, 48, repeat(72_000, |a, n| file(a, &number(n), b""))),
        // Directories that no entry describes, each with one name in it.
        (
            FITS,
            48,
            repeat(1000, |a, n| {
                file(a, &format!("{n}/{}f", "d/".repeat(39)), b"");
            }),
        ),
        (FITS, 8, repeat(29, |a, n| pieces(a, &number(n), 4000))),
        (
            FITS,
            32,
            repeat(11_000, |a, n| {
                attributes(a, 8);
                file(a, &number(n), b"1");
            }),
        ),
        // A chain of headers, of which only the last counts.
        (
            "extended attributes of one file",
            8,
            repeat(60, |a, n| {
                attributes(a, 30_000);
                if n == 59 {
                    file(a, "f", b"1");
                }
            }),
        ),
        (
            MEMORY,
            8,
            repeat(20_000, |a, n| {
                attributes(a, 8);
                file(a, &number(n), b"1");
            }),
        ),
        (MEMORY, 8, repeat(90, |a, n| pieces(a, &number(n), 4000))),
        (
            MEMORY,
            8,
            repeat(1000, |a, n| {
                file(a, &format!("{n}/{}f", "d/".repeat(40)), b"");
            }),
        ),
        (MEMORY, 8, repeat(80_000, |a, n| file(a, &number(n), b""))),
        // Always the same name: what had it is gone, but a little is kept of it.
        (MEMORY, 8, repeat(80_000, |a, _| file(a, "f", b""))),
        (
            MEMORY,
            8,
            repeat(15_000, |a, n| {
                link(a, EntryType::Symlink, &number(n), &"t/".repeat(1900));
            }),
        ),
        (
            MEMORY,
            8,
            repeat(80_000, |a, n| match n {
                0 => file(a, "f", b"1"),
                _ => link(a, EntryType::Link, &number(n), "f"),
            }),
        ),
        (
            "inflated bytes",
            8,
            repeat(12, |a, n| file(a, &number(n), &vec![0; 50 << 20])),
        ),
        (
            "bytes of content",
            48,
            repeat(40, |a, _| pieces(a, "f", 4000)),
        ),
    ]
}

/// Not a test: the process whose memory [`hostile_layers_take_no_more_memory_than_allowed`] measures.
/// Prints what the build said, and the most memory that this process had.
#[test]
#[ignore = "run by another test"]
fn worker() {
    let folder = std::env::var_os(FOLDER).unwrap();
    let folder = Path::new(&folder);
    let store = Store::open(&folder.join("images")).unwrap();
    let image = store.load(&folder.join("layout"), &()).unwrap().remove(0);
    let limit: u64 = std::env::var(LIMIT).unwrap().parse().unwrap();
    let limits = Limits {
        memory_bytes: limit << 20,
        inflated_bytes: 500 << 20,
        ..Limits::default()
    };
    let disks = DiskCache::open(&folder.join("disks"))
        .unwrap()
        .with_limits(limits);
    let said = match disks.disk(&store, &image, &()) {
        Ok(_) => FITS.to_owned(),
        Err(error) => std::error::Error::source(&error).unwrap().to_string(),
    };
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:"));
    println!("said: {said}\n{}", peak.unwrap());
}

/// Builds a disk of one archive, compressed to `blob`, in a process of its own: what it said, and its
/// peak memory in bytes.
fn build(archive: &[u8], blob: &[u8], limit: u64) -> (String, u64) {
    let work = tempfile::tempdir().unwrap();
    let mut layout = Layout::new(&work.path().join("layout"));
    let blob = layout.blob(GZIP_LAYER, blob);
    let image = layout.manifest("amd64", &[blob], &[Digest::of(archive).to_string()]);
    layout.name(image, "x");
    let output = run(Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "worker", "--ignored", "--nocapture"])
        .env(FOLDER, work.path())
        .env(LIMIT, limit.to_string()));
    let text = String::from_utf8(output.stdout).unwrap();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.split_once(name));
        line.unwrap().1.trim().to_owned()
    };
    let left = fs::read_dir(work.path().join("disks")).unwrap().count();
    assert_eq!(left, usize::from(field("said:") == FITS));
    let kilobytes = field("VmHWM:").replace(" kB", "");
    (field("said:"), kilobytes.parse::<u64>().unwrap() << 10)
}

#[test]
fn hostile_layers_take_no_more_memory_than_allowed() {
    let mut usual = 0;
    for (number, (stopped_by, limit, archive)) in cases().into_iter().enumerate() {
        let (said, peak) = build(&archive, &gzip(&archive), limit);
        assert!(said.contains(stopped_by), "case {number}: {said}");
        if number == 0 {
            usual = peak;
        }
        let more = peak.saturating_sub(usual) >> 20;
        println!("case {number}, limit {limit} MiB: {more} MiB more than an image of one file");
        assert!(more < limit + WORKING, "case {number} took {more} MiB more");
    }
}

/// A zstd frame with a window of `1 << log` bytes, in blocks that are not compressed (RFC 8878, 3.1.1).
fn zstd(log: u8, bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3];
    let count = bytes.len().div_ceil(1 << 17);
    for (number, block) in bytes.chunks(1 << 17).enumerate() {
        let last = u32::from(number + 1 == count);
        let header = u32::try_from(block.len()).unwrap() << 3 | last;
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.extend_from_slice(block);
    }
    frame
}

#[test]
fn a_zstd_window_counts() {
    let small = repeat(1, |a, _| file(a, "f", b"1"));
    let (_, usual) = build(&small, &zstd(10, &small), 64);
    let large = repeat(80_000, |a, n| file(a, &n.to_string(), &vec![0; n % 999]));
    for (log, limit, stopped_by) in [
        (24, 96, FITS),
        // Alone each would do, the names and the window.
        (24, 64, MEMORY),
        (24, 24, MEMORY),
        (28, 4096, "zstd window of 268435456 bytes"),
    ] {
        let (said, peak) = build(&large, &zstd(log, &large), limit);
        assert!(said.contains(stopped_by), "{log}, {limit}: {said}");
        let more = peak.saturating_sub(usual) >> 20;
        println!("window of 2^{log}, limit {limit} MiB: {more} MiB more");
        assert!(
            more < limit + WORKING,
            "{log}, {limit}: took {more} MiB more"
        );
    }
}
