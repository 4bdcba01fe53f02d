//! Layers that are odd, damaged or hostile, one by one. What a stack of layers merges to is the matter
//! of the differential test.

#![allow(clippy::unwrap_used, reason = "failures of helpers fail the test")]

mod common;

use std::{fs, path::Path, process::Command};

use common::{
    archive::archive,
    layout::gzip,
    mount,
    odd::{access_control_list, build_with, messages, with_xattr},
    run,
};
use images::{Digest, Disk, Error, Limits};

fn build(work: &Path, archive: &[u8]) -> Result<Disk, Error> {
    let layer = (gzip(archive), Digest::of(archive));
    build_with(work, &[layer], Limits::default())
}

#[test]
fn the_tail_of_an_archive_counts() {
    let mut bytes = archive(&[("a", b"1")]);
    bytes.extend_from_slice(&[7; 100_000]);
    let work = tempfile::tempdir().unwrap();
    mount::check(build(work.path(), &bytes).unwrap().path());
}

#[test]
fn an_archive_may_end_with_its_last_content() {
    let whole = archive(&[("a", b"1"), ("b", &[2; 700])]);
    // "a" has two blocks, "b" a header and 700 bytes of two more.
    let content = 3 * 512 + 700;
    for end in [content, content + 100, 5 * 512, 6 * 512, 7 * 512] {
        let mut bytes = whole[..end.min(whole.len())].to_vec();
        bytes.resize(end, 0);
        let work = tempfile::tempdir().unwrap();
        mount::check(build(work.path(), &bytes).unwrap().path());
    }
    for end in [content - 1, 2 * 512 + 100] {
        let work = tempfile::tempdir().unwrap();
        let error = build(work.path(), &whole[..end]).unwrap_err();
        assert!(messages(&error).contains("cut off"), "{error}");
    }
}

#[test]
fn a_lone_block_of_zeros_ends_nothing() {
    let first = archive(&[("a", b"1")]);
    let bytes = [&first[..3 * 512], &archive(&[("b", b"2")])].concat();
    let work = tempfile::tempdir().unwrap();
    let error = build(work.path(), &bytes).unwrap_err();
    assert!(messages(&error).contains("block of zeros"), "{error}");
}

#[test]
fn damage_is_told_and_leaves_nothing() {
    let bytes = archive(&[("a", &[1; 100_000]), ("b", b"2")]);
    let right = Digest::of(&bytes);
    let packed = gzip(&bytes);
    let mut flipped = bytes.clone();
    flipped[600] ^= 1;
    let cases = [
        (
            packed.clone(),
            Digest::of(b""),
            "the image's configuration says",
        ),
        (gzip(&flipped), right, "the image's configuration says"),
        (
            packed[..packed.len() / 2].to_vec(),
            right,
            "damaged or cut off",
        ),
        (b"hello".to_vec(), right, "neither a gzip"),
        (gzip(&bytes[..50_000]), right, "damaged or cut off"),
        (gzip(&[1; 5000]), right, "checksum is wrong"),
    ];
    for (blob, diff_id, reason) in cases {
        let work = tempfile::tempdir().unwrap();
        let error = build_with(work.path(), &[(blob, diff_id)], Limits::default()).unwrap_err();
        let messages = messages(&error);
        assert!(messages.contains(reason), "{messages}");
        assert!(
            messages.contains("Cannot apply layer sha256:"),
            "{messages}"
        );
    }
}

#[test]
fn bombs_are_stopped_early() {
    let deep = "d/".repeat(300) + "f";
    let many: Vec<String> = (0..2000).map(|number| format!("file{number}")).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|name| (name.as_str(), &b""[..])).collect();
    let defaults = Limits::default();
    let cases = [
        (
            archive(&[("zeros", &vec![0; 64 << 20])]),
            Limits {
                inflated_bytes: 1 << 20,
                ..defaults
            },
            "inflated bytes",
        ),
        (
            archive(&many),
            Limits {
                entries: 1000,
                ..defaults
            },
            "entries",
        ),
        (
            archive(&many),
            Limits {
                memory_bytes: 5000,
                ..defaults
            },
            "bytes of names",
        ),
        (archive(&[(&deep, b"")]), defaults, "components in a name"),
        (
            with_xattr("user.big", &[1; 300]),
            Limits {
                xattr_bytes: 307,
                ..defaults
            },
            "extended attributes of one file",
        ),
    ];
    for (bytes, limits, what) in cases {
        let work = tempfile::tempdir().unwrap();
        let layer = (gzip(&bytes), Digest::of(&bytes));
        let error = build_with(work.path(), &[layer], limits).unwrap_err();
        let messages = messages(&error);
        assert!(messages.contains(what), "{messages}");
    }
}

#[test]
fn every_sparse_format_of_gnu_tar_reads_back() {
    let work = tempfile::tempdir().unwrap();
    let file = work.path().join("holes");
    // Thirty pieces: more than the first header of the old format holds.
    let mut content = vec![0; 30 << 16];
    for (index, piece) in content.chunks_mut(1 << 16).enumerate() {
        piece[..5000].fill(u8::try_from(index + 1).unwrap());
    }
    fs::write(&file, &content).unwrap();
    run(Command::new("fallocate").arg("--dig-holes").arg(&file));
    let formats: [&[&str]; 4] = [
        &["--format=gnu"],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ];
    for format in formats {
        let made = run(Command::new("tar")
            .args(["-cS"])
            .args(format)
            .arg("-C")
            .arg(work.path())
            .arg("holes"));
        assert!(
            made.stdout.len() < content.len() / 2,
            "{format:?} is not sparse"
        );
        let place = tempfile::tempdir().unwrap();
        let disk = build(place.path(), &made.stdout).unwrap();
        mount::check(disk.path());
        let mounted = mount::Mount::new(disk.path());
        assert!(
            fs::read(mounted.path().join("holes")).unwrap() == content,
            "{format:?}"
        );
        assert!(
            disk.allocated_bytes().unwrap() < 1 << 20,
            "{format:?} lost its holes"
        );
    }
}

/// An archive of one directory with an extended attribute.
#[test]
fn access_control_lists_reach_the_kernel() {
    let acl = access_control_list();
    for name in ["system.posix_acl_access", "system.posix_acl_default"] {
        let work = tempfile::tempdir().unwrap();
        let disk = build(work.path(), &with_xattr(name, &acl)).unwrap();
        mount::check(disk.path());
        let mounted = mount::Mount::new(disk.path());
        let mut value = [0; 100];
        let length = rustix::fs::lgetxattr(mounted.path().join("d"), name, &mut value[..]).unwrap();
        assert_eq!(&value[..length], acl, "{name}");
    }
    let work = tempfile::tempdir().unwrap();
    let error = build(
        work.path(),
        &with_xattr("system.posix_acl_access", b"nonsense"),
    )
    .unwrap_err();
    assert!(messages(&error).contains("access control list is malformed"));
}

#[test]
fn a_header_of_the_whole_archive_is_passed_over() {
    // As `git archive` writes it. What stands before it is not about the entry behind it.
    let mut builder = tar::Builder::new(Vec::new());
    builder
        .append_pax_extensions([("path", &b"before"[..])])
        .unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::XGlobalHeader);
    let record = b"16 comment=hash\n";
    header.set_size(record.len() as u64);
    builder
        .append_data(&mut header, "pax_global_header", &record[..])
        .unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_size(0);
    builder.append_data(&mut header, "plain", &[][..]).unwrap();
    let work = tempfile::tempdir().unwrap();
    let disk = build(work.path(), &builder.into_inner().unwrap()).unwrap();
    let mounted = mount::Mount::new(disk.path());
    assert!(mounted.path().join("plain").exists());
    assert_eq!(fs::read_dir(mounted.path()).unwrap().count(), 1);
}

#[test]
fn attributes_beyond_a_block_are_refused() {
    let work = tempfile::tempdir().unwrap();
    let error = build(work.path(), &with_xattr("user.big", &[1; 5000])).unwrap_err();
    assert!(messages(&error).contains("extended attributes of one file exceed"));
}

#[test]
fn a_full_disk_leaves_nothing() {
    let work = tempfile::tempdir().unwrap();
    let disks = work.path().join("disks");
    fs::create_dir(&disks).unwrap();
    run(Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "none"])
        .arg(&disks));
    let bytes = archive(&[("big", &vec![1; 8 << 20])]);
    let error = build(work.path(), &bytes).unwrap_err();
    let left = fs::read_dir(&disks).unwrap().count();
    run(Command::new("umount").arg(&disks));
    assert_eq!(left, 0);
    assert!(
        messages(&error).contains("No space left on device"),
        "{}",
        messages(&error)
    );
}
