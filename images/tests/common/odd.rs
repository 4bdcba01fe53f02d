//! Disks of odd layers, and what goes into those.

use std::{fs, path::Path};

use images::{Digest, Disk, DiskCache, Error, Limits, Store};

use super::layout::{GZIP_LAYER, Layout};

/// Builds a disk of layers as they are, with the diff_ids given; a failure must leave nothing.
pub(crate) fn build_with(
    work: &Path,
    layers: &[(Vec<u8>, Digest)],
    limits: Limits,
) -> Result<Disk, Error> {
    let folder = work.join("layout");
    let mut layout = Layout::new(&folder);
    let described: Vec<_> = layers
        .iter()
        .map(|(blob, _)| layout.blob(GZIP_LAYER, blob))
        .collect();
    let diff_ids: Vec<_> = layers
        .iter()
        .map(|(_, diff_id)| diff_id.to_string())
        .collect();
    let image = layout.manifest("amd64", &described, &diff_ids);
    layout.name(image, "x");
    let store = Store::open(&work.join("images")).unwrap();
    let image = store.load(&folder, &()).unwrap().remove(0);
    let disks = DiskCache::open(&work.join("disks"))
        .unwrap()
        .with_limits(limits);
    let built = disks.disk(&store, &image, &());
    if built.is_err() {
        assert_eq!(fs::read_dir(work.join("disks")).unwrap().count(), 0);
    }
    built
}

/// The chain of messages.
pub(crate) fn messages(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// An archive of a folder with an attribute.
pub(crate) fn with_xattr(name: &str, value: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let key = format!("SCHILY.xattr.{name}");
    builder
        .append_pax_extensions([(key.as_str(), value)])
        .unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(0o755);
    header.set_size(0);
    builder.append_data(&mut header, "d", &[][..]).unwrap();
    builder.into_inner().unwrap()
}

/// An access control list in the form of extended attributes.
pub(crate) fn access_control_list() -> Vec<u8> {
    // user::rwx, user:1000:r-x, group::r-x, mask::rwx, other::---
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [
        (1_u16, 7_u16, u32::MAX),
        (2, 5, 1000),
        (4, 5, u32::MAX),
        (16, 7, u32::MAX),
        (32, 0, u32::MAX),
    ] {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&permissions.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    acl
}
