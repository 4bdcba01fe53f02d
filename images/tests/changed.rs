//! Layers with changed bytes: refused, or a disk that e2fsck accepts.

#![allow(clippy::unwrap_used, reason = "failures of helpers fail the test")]

mod common;

use std::{process::Command, sync::LazyLock};

use common::{
    archive::archive,
    mount,
    odd::{access_control_list, build_with, with_xattr},
    run,
};
use images::{Digest, Limits};
use proptest::{prelude::*, sample::Index};

const ACL: &str = "system.posix_acl_access";

/// Two layers with every kind of entry, in every form that tar has for it: names, links, sparse files,
/// devices, attributes; then whiteouts, and entries over what the first one brought.
fn every_entry() -> [Vec<u8>; 2] {
    let work = tempfile::tempdir().unwrap();
    let shell = |script: &str| {
        run(Command::new("sh")
            .args(["-ec", script])
            .current_dir(work.path()))
        .stdout
    };
    shell(
        "mkdir -p d/e && echo content >d/e/f && ln d/e/f hard && ln -s d/e soft && ln -s /d abs
        mkfifo pipe && mknod char c 1 3 && mknod block b 259 70000
        echo x >$(printf 'long%.0s' $(seq 60)) && ln -s $(printf 'far/%.0s' $(seq 40)) far
        printf middle | dd of=sparse seek=100 bs=4096 status=none && truncate -s 1M sparse
        echo last >z",
    );
    let mut layers = [
        with_xattr("user.a", b"value"),
        with_xattr(ACL, &access_control_list()),
    ]
    .map(without_end);
    for form in [
        "gnu",
        "posix --sparse-version=0.0",
        "posix --sparse-version=0.1",
        "posix",
    ] {
        let tar = format!("tar -c --sparse --sort=name --format={form} *");
        layers[0].extend(without_end(shell(&tar)));
    }
    let [mut first, acl] = layers;
    first.extend(acl);
    let second = archive(&[
        ("soft/under", b"through a link"),
        ("d/.wh.e", b""),
        ("abs/.wh..wh..opq", b""),
        ("pipe", b"a file in its place"),
    ]);
    [first, without_end(second)]
}

/// An archive without the empty blocks at its end, so that another one can go on behind it.
fn without_end(mut archive: Vec<u8>) -> Vec<u8> {
    while archive.ends_with(&[0; 512]) {
        archive.truncate(archive.len() - 512);
    }
    archive
}

#[test]
fn the_archive_to_be_changed_is_read_to_its_end() {
    let layers = every_entry();
    let work = tempfile::tempdir().unwrap();
    let blobs = layers.map(|bytes| {
        let digest = Digest::of(&bytes);
        (bytes, digest)
    });
    let disk = build_with(work.path(), &blobs, Limits::default()).unwrap();
    let mount = mount::Mount::new(disk.path());
    assert!(mount.path().join("pipe").is_file());
    let sparse = mount.path().join("sparse").metadata().unwrap();
    assert_eq!(sparse.len(), 1 << 20);
    assert!(mount.path().join("d/e/under").exists());
    assert!(!mount.path().join("d/e/f").exists());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_changed_archive_breaks_the_builder(
        changes in prop::collection::vec((any::<bool>(), any::<Index>(), 0..512_usize, any::<u8>()), 1..6),
    ) {
        static LAYERS: LazyLock<[Vec<u8>; 2]> = LazyLock::new(every_entry);
        let mut layers = LAYERS.clone();
        for (upper, block, byte, value) in changes {
            let bytes = &mut layers[usize::from(upper)];
            let block = block.index(bytes.len() / 512);
            bytes[block * 512 + byte] = value;
        }
        let work = tempfile::tempdir().unwrap();
        let blobs = layers.map(|mut bytes| {
            // Headers keep their checksums, or little would get past them.
            for block in bytes.chunks_exact_mut(512) {
                if block[257..262] == *b"ustar" {
                    block[148..156].fill(b' ');
                    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
                    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
                }
            }
            let digest = Digest::of(&bytes);
            (bytes, digest)
        });
        if let Ok(disk) = build_with(work.path(), &blobs, Limits::default()) {
            mount::check(disk.path());
        }
    }
}
