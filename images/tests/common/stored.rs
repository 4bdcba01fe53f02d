//! A store and a cache of disks in a folder.

use std::{fs, path::Path};

use images::{DiskCache, Store};

use super::{archive::archive, layout::Layout};

pub(crate) fn open(work: &Path) -> (Store, DiskCache) {
    (
        Store::open(&work.join("images")).unwrap(),
        DiskCache::open(&work.join("disks")).unwrap(),
    )
}

pub(crate) fn files(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

/// A layout with two images that share their lower layer.
pub(crate) fn two_images(folder: &Path) {
    let mut layout = Layout::new(folder);
    let lower = archive(&[("lower", b"1")]);
    for name in ["a", "b"] {
        let upper = archive(&[(name, name.as_bytes())]);
        let image = layout.image("amd64", &[lower.clone(), upper]);
        layout.name(image, &format!("example.test/{name}:1"));
    }
}
