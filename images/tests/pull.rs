//! Images pulled from a real registry become disks that e2fsck and the kernel accept.

mod common;

use std::fs;

use common::{archive::archive, layout::Layout, mount, registry::Registry};
use images::{DiskCache, Platform, PullOptions, Reference, Store};

#[test]
fn a_pulled_image_becomes_a_disk() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("layout");
    let mut layout = Layout::new(&folder);
    let archives = [
        archive(&[("etc/a", b"one"), ("etc/b", b"two")]),
        archive(&[("etc/.wh.a", b""), ("etc/c", b"three")]),
    ];
    let index = layout.index(&[
        layout.image("amd64", &archives),
        layout.image("arm64", &archives[..1]),
    ]);
    layout.name(index, "x");
    let registry = Registry::start();
    registry.push(&folder, "x", "a/b:t");

    let store = Store::open(&work.path().join("images")).unwrap();
    let disks = DiskCache::open(&work.path().join("disks")).unwrap();
    let reference: Reference = format!("{}/a/b:t", registry.host()).parse().unwrap();
    let platform: Platform = "linux/amd64".parse().unwrap();
    assert!(store.find(&reference, &platform).unwrap().is_none());
    let image = store
        .pull(&reference, &platform, &PullOptions::default(), &())
        .unwrap();
    assert_eq!(image.config.cmd, ["true"]);
    drop(registry);

    let found = store.find(&reference, &platform).unwrap().unwrap();
    assert_eq!(found.manifest, image.manifest);
    let disk = disks.disk(&store, &found, &()).unwrap();
    mount::check(disk.path());
    let mounted = mount::Mount::new(disk.path());
    let names: Vec<_> = fs::read_dir(mounted.path().join("etc"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["b", "c"]);
    assert_eq!(fs::read(mounted.path().join("etc/c")).unwrap(), b"three");
}
