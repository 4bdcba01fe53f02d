//! A real image, as Docker Hub has it: pulled from a registry, its disk is what umoci unpacks.

#![allow(clippy::unwrap_used, reason = "failures of helpers fail the test")]

mod common;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use common::{mount, registry::Registry, run, snapshot};
use images::{DiskCache, Platform, PullOptions, Reference, Store};

const NAME: &str = "localhost/python:3.12-alpine";

/// The fixture's OCI layout.
fn official_image() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/official-image");
    let printed = String::from_utf8(run(&mut Command::new(script)).stdout).unwrap();
    PathBuf::from(printed.trim())
}

#[test]
fn the_official_image_is_what_umoci_unpacks() {
    let image = official_image();
    let work = tempfile::tempdir().unwrap();
    let registry = Registry::start();
    registry.push(&image, NAME, "python:3.12-alpine");
    let store = Store::open(&work.path().join("images")).unwrap();
    let disks = DiskCache::open(&work.path().join("disks")).unwrap();
    let reference: Reference = format!("{}/python:3.12-alpine", registry.host())
        .parse()
        .unwrap();
    let platform = Platform::new("linux", "amd64", None);
    let options = PullOptions::default();
    let pulled = store.pull(&reference, &platform, &options, &()).unwrap();
    let by_digest = reference.at_digest(pulled.source);
    let again = store.pull(&by_digest, &platform, &options, &()).unwrap();
    assert_eq!(again.manifest, pulled.manifest);
    let disk = disks.disk(&store, &pulled, &()).unwrap();
    mount::check(disk.path());

    let bundle = work.path().join("bundle");
    run(Command::new("umoci")
        .args(["unpack", "--image"])
        .arg(format!("{}:{NAME}", image.display()))
        .arg(&bundle));
    let mounted = mount::Mount::new(disk.path());
    let ours = snapshot::take(mounted.path());
    assert!(ours.len() > 1000);
    snapshot::compare(&ours, &snapshot::take(&bundle.join("rootfs"))).unwrap();
}
