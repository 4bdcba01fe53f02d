//! `index.json`: which names the store knows.

use std::{collections::BTreeMap, fs, io, path::Path};

use crate::{
    Digest, Error, Platform, Reference,
    error::FileContext,
    manifest::{Descriptor, Index, OCI_INDEX},
    private, staging,
};

/// The image's full name, where skopeo and umoci look for it (OCI image specification, annotations.md).
const NAME: &str = "org.opencontainers.image.ref.name";
/// The platform that was asked for; the image's own can be another that serves it.
const REQUESTED: &str = "terrarium.requested-platform";
/// What the name resolved to at its source: the index's digest where there is one.
const SOURCE: &str = "terrarium.source-digest";

/// One name in the store.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) reference: Reference,
    /// The platform asked for.
    pub(crate) requested: Platform,
    /// What the name resolved to: a manifest, or the index that lists it.
    pub(crate) source: Digest,
    /// The image's manifest.
    pub(crate) descriptor: Descriptor,
}

/// Reads the names. Those that another tool put there are taken for the image's `own` platform;
/// descriptors without a name are passed over.
pub(super) fn read(
    folder: &Path,
    own: impl Fn(&Descriptor) -> Platform,
) -> Result<Vec<Entry>, Error> {
    let path = folder.join("index.json");
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        bytes => bytes.context("read", &path)?,
    };
    let index: Index = serde_json::from_slice(&bytes).map_err(|source| Error::Json {
        what: path.display().to_string(),
        source,
    })?;
    let entries = index.manifests.into_iter();
    Ok(entries
        .filter_map(|descriptor| to_entry(descriptor, &own))
        .collect())
}

fn to_entry(mut descriptor: Descriptor, own: impl Fn(&Descriptor) -> Platform) -> Option<Entry> {
    let mut take = |key: &str| descriptor.annotations.remove(key);
    let (name, requested, source) = (take(NAME)?, take(REQUESTED), take(SOURCE));
    Some(Entry {
        reference: name.parse().ok()?,
        requested: match requested {
            // What an earlier version wrote without looking must not hide the image.
            Some(requested) => requested.parse().unwrap_or_else(|_| Platform::unknown()),
            None => own(&descriptor),
        },
        source: source
            .and_then(|source| source.parse().ok())
            .unwrap_or(descriptor.digest),
        descriptor,
    })
}

/// Replaces the names. The caller holds the store's lock.
pub(super) fn write(folder: &Path, entries: &[Entry]) -> Result<(), Error> {
    let manifests = entries.iter().map(|entry| Descriptor {
        annotations: BTreeMap::from([
            (NAME.to_owned(), entry.reference.canonical()),
            (REQUESTED.to_owned(), entry.requested.to_string()),
            (SOURCE.to_owned(), entry.source.to_string()),
        ]),
        ..entry.descriptor.clone()
    });
    let index = Index {
        schema_version: 2,
        media_type: Some(OCI_INDEX.to_owned()),
        manifests: manifests.collect(),
    };
    let path = folder.join("index.json");
    let json = serde_json::to_vec_pretty(&index).map_err(|source| Error::Json {
        what: path.display().to_string(),
        source,
    })?;
    staging::replace(&path, &json, private::FILE)
}
