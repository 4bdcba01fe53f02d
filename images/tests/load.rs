//! Every form in which images come as files gives the same disk.

#![allow(clippy::unwrap_used, reason = "failures of helpers fail the test")]

mod common;

use std::{fs, path::Path, process::Command};

use common::{archive::archive, layout::Layout, run};
use images::{Digest, DiskCache, Error, Image, Platform, Store};

fn copy(source: &str, target: &str) {
    run(Command::new("skopeo").args(["copy", "--quiet", "--insecure-policy", source, target]));
}

/// Loads one image into a store of its own; gives its disk's digest as well.
fn load(work: &Path, source: &Path) -> (Image, Digest) {
    let place = tempfile::tempdir_in(work).unwrap();
    let store = Store::open(&place.path().join("images")).unwrap();
    let disks = DiskCache::open(&place.path().join("disks")).unwrap();
    let mut images = store.load(source, &()).unwrap();
    assert_eq!(images.len(), 1);
    let image = images.remove(0);
    let found = store.find(&image.reference, &image.platform).unwrap();
    assert_eq!(found.unwrap().manifest, image.manifest);
    let disk = disks.disk(&store, &image, &()).unwrap();
    (image, sparse_digest(disk.path()))
}

/// A digest of the disk's bytes before its unused end.
fn sparse_digest(disk: &Path) -> Digest {
    let bytes = run(Command::new("head").args(["-c", "16M"]).arg(disk)).stdout;
    Digest::of(&bytes)
}

#[test]
fn every_form_gives_the_same_disk() {
    let work = tempfile::tempdir().unwrap();
    let path = |name: &str| work.path().join(name);
    let mut layout = Layout::new(&path("layout"));
    let layers = [
        archive(&[("a", b"1"), ("b/c", b"2")]),
        archive(&[(".wh.a", b"")]),
    ];
    let image = layout.image("amd64", &layers);
    layout.name(image, "example.test/some/thing:v1");
    let from = format!(
        "oci:{}:example.test/some/thing:v1",
        path("layout").display()
    );
    let (original, disk) = load(work.path(), &path("layout"));
    assert_eq!(original.reference.to_string(), "example.test/some/thing:v1");
    assert_eq!(original.platform, Platform::new("linux", "amd64", None));

    let archive = path("oci.tar");
    copy(
        &from,
        &format!(
            "oci-archive:{}:example.test/some/thing:v1",
            archive.display()
        ),
    );
    let (image, same) = load(work.path(), &archive);
    assert_eq!(image.manifest, original.manifest);
    assert_eq!(same, disk);

    let archive = path("docker.tar");
    copy(
        &from,
        &format!(
            "docker-archive:{}:example.test/some/thing:v1",
            archive.display()
        ),
    );
    let (image, same) = load(work.path(), &archive);
    assert_eq!(image.reference, original.reference);
    assert_eq!(same, disk);

    run(Command::new("gzip").arg("-k").arg(&archive));
    let (image, same) = load(work.path(), &path("docker.tar.gz"));
    assert_eq!(image.reference, original.reference);
    assert_eq!(same, disk);
}

#[test]
fn refuses_what_is_no_image() {
    let work = tempfile::tempdir().unwrap();
    let store = Store::open(&work.path().join("images")).unwrap();
    let path = work.path().join("file");
    let refusal = |content: &[u8]| {
        fs::write(&path, content).unwrap();
        match store.load(&path, &()).unwrap_err() {
            Error::NotAnImage { reason, .. } => reason,
            error => panic!("{error}"),
        }
    };
    assert!(refusal(b"hello").contains("not a tar archive"));
    assert!(refusal(&archive(&[("x", b"")])).contains("neither"));
    let outside = br#"[{"Config":"../../etc/passwd","Layers":[]}]"#;
    assert!(refusal(&archive(&[("manifest.json", outside)])).contains("outside"));
    let missing = br#"[{"Config":"c.json","Layers":[]}]"#;
    assert!(refusal(&archive(&[("manifest.json", missing)])).contains("c.json is missing"));
    assert!(store.load(&work.path().join("none"), &()).is_err());
}

#[test]
fn a_changed_blob_is_noticed() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("layout");
    let mut layout = Layout::new(&folder);
    let image = layout.image("amd64", &[archive(&[("a", b"1")])]);
    layout.name(image, "x");
    for blob in fs::read_dir(folder.join("blobs/sha256")).unwrap() {
        let blob = blob.unwrap().path();
        let whole = fs::read(&blob).unwrap();
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        fs::write(&blob, changed).unwrap();
        let place = tempfile::tempdir_in(work.path()).unwrap();
        let store = Store::open(&place.path().join("images")).unwrap();
        let error = store.load(&folder, &()).unwrap_err();
        assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
        fs::write(&blob, whole).unwrap();
    }
}
