//! Disks of unusual size and shape: e2fsck accepts them, and the kernel finds everything on them.

#![allow(clippy::unwrap_used, reason = "failures of helpers fail the test")]

mod common;

use std::{collections::BTreeSet, fs, io::Read, os::unix::fs::MetadataExt, path::Path};

use common::{archive::header, layout::Layout, mount};
use images::{Disk, DiskCache, DiskFile, Image, Store};
use tar::{Builder, EntryType};

fn load(work: &Path, archives: &[Vec<u8>]) -> (Store, Image) {
    let folder = work.join("layout");
    let mut layout = Layout::new(&folder);
    let image = layout.image("amd64", archives);
    layout.name(image, "x");
    let store = Store::open(&work.join("images")).unwrap();
    let image = store.load(&folder, &()).unwrap().remove(0);
    (store, image)
}

fn build(work: &Path, archives: &[Vec<u8>]) -> Disk {
    let (store, image) = load(work, archives);
    let disks = DiskCache::open(&work.join("disks")).unwrap();
    let disk = disks.disk(&store, &image, &()).unwrap();
    mount::check(disk.path());
    disk
}

#[test]
fn a_disk_has_the_size_that_was_asked_for() {
    const MIB: u64 = 1 << 20;
    let mut builder = Builder::new(Vec::new());
    let content = vec![1; 300 << 20];
    let mut header = header(EntryType::Regular, content.len() as u64);
    builder.append_data(&mut header, "f", &content[..]).unwrap();
    let work = tempfile::tempdir().unwrap();
    let (store, image) = load(work.path(), &[builder.into_inner().unwrap()]);
    let open = || DiskCache::open(&work.path().join("disks")).unwrap();
    let usual = open().disk(&store, &image, &()).unwrap();
    for (asked, size) in [
        (384 * MIB, 384 * MIB),
        (5000 * MIB, 5120 * MIB),
        (1 << 40, 1 << 40),
    ] {
        let disk = open()
            .with_size(Some(asked))
            .disk(&store, &image, &())
            .unwrap();
        assert_ne!(disk.path(), usual.path());
        assert_eq!(fs::metadata(disk.path()).unwrap().len(), size);
        if size < 1 << 40 {
            mount::check(disk.path());
        }
        let mounted = mount::Mount::new(disk.path());
        let free = rustix::fs::statvfs(mounted.path()).unwrap();
        // All that is not content or tables is free.
        assert!(
            free.f_bavail * free.f_frsize > (size - 320 * MIB) / 100 * 95,
            "{asked}"
        );
        assert_eq!(
            fs::metadata(mounted.path().join("f")).unwrap().len(),
            300 * MIB
        );
    }
    for (asked, reason) in [
        (256 * MIB, "at least 384 MiB"),
        ((1 << 40) + 1, "more than 1024 GiB"),
    ] {
        let error = open()
            .with_size(Some(asked))
            .disk(&store, &image, &())
            .unwrap_err();
        let reasons: Vec<_> =
            std::iter::successors(Some(&error as &dyn std::error::Error), |error| {
                error.source()
            })
            .map(ToString::to_string)
            .collect();
        assert!(reasons.join(": ").contains(reason), "{reasons:?}");
    }
}

#[test]
fn directories_of_every_size_are_found_by_name() {
    // None indexed, one level, two levels.
    let counts = [10, 300, 150_000];
    let mut builder = Builder::new(Vec::new());
    for count in counts {
        for number in 0..count {
            let name = format!("d{count}/{number:0>60}");
            let mut header = header(EntryType::Regular, 0);
            builder.append_data(&mut header, name, &[][..]).unwrap();
        }
    }
    let work = tempfile::tempdir().unwrap();
    let disk = build(work.path(), &[builder.into_inner().unwrap()]);
    let mounted = mount::Mount::new(disk.path());
    for count in counts {
        let folder = mounted.path().join(format!("d{count}"));
        let listed = fs::read_dir(&folder).unwrap().count();
        assert_eq!(listed, count);
        for number in (0..count).step_by(7) {
            let name = folder.join(format!("{number:0>60}"));
            assert!(name.symlink_metadata().is_ok(), "{name:?} is not found");
        }
        assert!(!folder.join("none").exists());
    }
}

#[test]
fn a_file_in_many_pieces_reads_back() {
    // 3000 pieces need an extent tree of two levels.
    const PIECES: u64 = 3000;
    const STEP: u64 = 3 * 4096;
    let numbers: Vec<String> = (0..PIECES)
        .flat_map(|piece| [(piece * STEP + 100).to_string(), "5000".to_owned()])
        .collect();
    let size = (PIECES * STEP).to_string();
    let mut builder = Builder::new(Vec::new());
    builder
        .append_pax_extensions([
            ("GNU.sparse.size", size.as_bytes()),
            ("GNU.sparse.map", numbers.join(",").as_bytes()),
        ])
        .unwrap();
    let content: Vec<u8> = (0..PIECES * 5000)
        .map(|index| index.to_le_bytes()[1] | 1)
        .collect();
    let mut header = header(EntryType::Regular, content.len() as u64);
    builder
        .append_data(&mut header, "file", content.as_slice())
        .unwrap();
    let work = tempfile::tempdir().unwrap();
    let disk = build(work.path(), &[builder.into_inner().unwrap()]);
    let mounted = mount::Mount::new(disk.path());
    let read = fs::read(mounted.path().join("file")).unwrap();
    assert_eq!(read.len() as u64, PIECES * STEP);
    let mut expected = vec![0; read.len()];
    for (piece, bytes) in content.chunks(5000).enumerate() {
        let start = piece * 3 * 4096 + 100;
        expected[start..start + 5000].copy_from_slice(bytes);
    }
    assert!(read == expected);
}

#[test]
fn a_large_file_spans_groups() {
    // More than one extent can hold.
    const SIZE: u64 = 140 << 20;
    let mut builder = Builder::new(Vec::new());
    builder
        .append_data(
            &mut header(EntryType::Regular, SIZE),
            "file",
            std::io::repeat(b'x').take(SIZE),
        )
        .unwrap();
    let work = tempfile::tempdir().unwrap();
    let disk = build(work.path(), &[builder.into_inner().unwrap()]);
    let mounted = mount::Mount::new(disk.path());
    let mut file = fs::File::open(mounted.path().join("file")).unwrap();
    let mut buffer = vec![0; 1 << 20];
    for _ in 0..SIZE >> 20 {
        file.read_exact(&mut buffer).unwrap();
        assert!(buffer.iter().all(|&byte| byte == b'x'));
    }
    assert_eq!(file.read(&mut buffer).unwrap(), 0);
}

#[test]
fn removed_content_takes_no_room() {
    let noise: Vec<u8> = (0..4 << 20_u32)
        .map(|index: u32| index.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect();
    let mut lower = Builder::new(Vec::new());
    lower
        .append_data(
            &mut header(EntryType::Regular, noise.len() as u64),
            "big",
            noise.as_slice(),
        )
        .unwrap();
    let mut upper = Builder::new(Vec::new());
    upper
        .append_data(&mut header(EntryType::Regular, 0), ".wh.big", &[][..])
        .unwrap();
    let work = tempfile::tempdir().unwrap();
    let archives = [lower.into_inner().unwrap(), upper.into_inner().unwrap()];
    let disk = build(work.path(), &archives);
    assert!(disk.allocated_bytes().unwrap() < 2 << 20);
}

#[test]
fn the_same_layers_give_the_same_bytes() {
    let mut builder = Builder::new(Vec::new());
    for number in 0..500 {
        let name = format!("dir{}/file{number}", number % 7);
        let mut header = header(EntryType::Regular, 5);
        builder
            .append_data(&mut header, name, &b"hello"[..])
            .unwrap();
    }
    let archive = builder.into_inner().unwrap();
    let disks: BTreeSet<_> = (0..2)
        .map(|_| {
            let work = tempfile::tempdir().unwrap();
            let disk = build(work.path(), std::slice::from_ref(&archive));
            let mut file = fs::File::open(disk.path()).unwrap();
            let mut head = vec![0; 32 << 20];
            file.read_exact(&mut head).unwrap();
            (
                disk.path().file_name().unwrap().to_owned(),
                images::Digest::of(&head),
            )
        })
        .collect();
    assert_eq!(disks.len(), 1);
}

#[test]
fn a_disk_of_files_has_these_and_no_others() {
    let work = tempfile::tempdir().unwrap();
    let contents = [vec![7; 3 << 20], b"small".to_vec(), Vec::new()];
    let files: Vec<DiskFile> = contents
        .iter()
        .enumerate()
        .map(|(number, contents)| {
            let source = work.path().join(number.to_string());
            fs::write(&source, contents).unwrap();
            DiskFile {
                name: format!("file{number}"),
                source,
                sha256: format!("{number}"),
                mode: 0o750,
            }
        })
        .collect();
    let disks = DiskCache::open(&work.path().join("disks")).unwrap();
    let disk = disks.disk_of_files("files", &files).unwrap();
    mount::check(disk.path());
    let mounted = mount::Mount::new(disk.path());
    assert_eq!(fs::read_dir(mounted.path()).unwrap().count(), files.len());
    for (file, contents) in files.iter().zip(&contents) {
        let path = mounted.path().join(&file.name);
        assert!(fs::read(&path).unwrap() == *contents, "{}", file.name);
        let metadata = path.metadata().unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o750, 0));
    }

    // The same files are the same disk, others another one, and what is missing leaves nothing.
    let again = disks.disk_of_files("files", &files).unwrap();
    assert_eq!(again.path(), disk.path());
    let fewer = disks.disk_of_files("files", &files[..1]).unwrap();
    assert_ne!(fewer.path(), disk.path());
    fs::remove_file(&files[1].source).unwrap();
    let error = disks.disk_of_files("files", &files[1..]).unwrap_err();
    assert!(error.to_string().contains("open"), "{error}");
    assert_eq!(fs::read_dir(work.path().join("disks")).unwrap().count(), 2);
}
