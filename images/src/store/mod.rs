//! The content store: an OCI image layout that skopeo and umoci can read as well.
//!
//! ```text
//! oci-layout       says so
//! index.json       one descriptor for each reference and platform
//! blobs/sha256/    manifests, configurations, layers: complete and verified
//! ingest/          blobs on their way in
//! lock             held while index.json is replaced
//! blobs.lock       shared while blobs come in that have no name yet, exclusive while blobs are removed
//! ```

mod blobs;
mod index;
mod list;
mod prune;
mod save;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

pub(crate) use blobs::{BlobWriter, Ingest, check_digest, check_size};
pub(crate) use index::Entry;
pub use list::Listed;
pub use prune::Pruned;
pub(crate) use prune::{allocated, remove_unused};

use crate::{
    Digest, Error, Image, Platform, Reference,
    config::ConfigDocument,
    error::FileContext,
    manifest::{Descriptor, Document, MAX_CONFIG, MAX_MANIFEST, Manifest},
    staging,
};

/// Images that were pulled or loaded, with their blobs.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// Opens the store in `folder`, making it if it does not exist.
    ///
    /// # Errors
    /// If the folder cannot be created or written.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        for part in ["blobs/sha256", "ingest"] {
            let path = folder.join(part);
            fs::create_dir_all(&path).context("create", path)?;
        }
        let layout = folder.join("oci-layout");
        if !layout.exists() {
            let _lock = lock(folder)?;
            staging::replace(&layout, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// The image that `reference` meant for `platform` when it was last pulled or loaded.
    ///
    /// # Errors
    /// If the store cannot be read or is damaged.
    pub fn find(&self, reference: &Reference, platform: &Platform) -> Result<Option<Image>, Error> {
        let name = reference.canonical();
        let entries = index::read(&self.folder)?;
        let found = entries
            .iter()
            .find(|entry| entry.name == name && entry.requested == *platform);
        found
            .map(|entry| self.image(reference.clone(), entry.source, &entry.descriptor))
            .transpose()
    }

    /// Gives an image in the store its name.
    pub(crate) fn name(&self, entry: Entry) -> Result<(), Error> {
        let _lock = lock(&self.folder)?;
        let mut entries = index::read(&self.folder)?;
        entries.retain(|other| other.name != entry.name || other.requested != entry.requested);
        entries.push(entry);
        index::write(&self.folder, &entries)
    }

    /// Reads the image whose manifest `descriptor` points to; both manifest and configuration must be
    /// in the store.
    pub(crate) fn image(
        &self,
        reference: Reference,
        source: Digest,
        descriptor: &Descriptor,
    ) -> Result<Image, Error> {
        let manifest = self.manifest(descriptor)?;
        let config = self.read_blob(&manifest.config, MAX_CONFIG)?;
        let what = format!("configuration {}", manifest.config.digest);
        let document = ConfigDocument::parse(&config, manifest.layers.len(), &what)?;
        Ok(Image {
            reference,
            platform: document.platform,
            source,
            manifest: descriptor.digest,
            id: manifest.config.digest,
            config: document.config,
            created: document.created,
            layers: manifest.layers,
            diff_ids: document.diff_ids,
        })
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest, Error> {
        let what = format!("manifest {}", descriptor.digest);
        let bytes = self.read_blob(descriptor, MAX_MANIFEST)?;
        match Document::parse(&bytes, &descriptor.media_type, &what)? {
            Document::Manifest(manifest) => Ok(manifest),
            Document::Index(_) => Err(Error::Document {
                what,
                reason: "it is an index".to_owned(),
            }),
        }
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs/sha256").join(digest.hex())
    }

    fn ingest_path(&self, digest: &Digest) -> PathBuf {
        self.folder.join("ingest").join(digest.hex())
    }
}

/// Locks the store's index for a change. The lock ends when the file is dropped.
fn lock(folder: &Path) -> Result<File, Error> {
    let path = folder.join("lock");
    let file = File::create(&path).context("create", &path)?;
    file.lock().context("lock", path)?;
    Ok(file)
}

impl Store {
    /// Keeps blobs that have no name yet from being removed, until the file is dropped.
    pub(crate) fn keep_blobs(&self) -> Result<File, Error> {
        let (file, path) = self.blob_lock()?;
        file.lock_shared().context("lock", path)?;
        Ok(file)
    }

    /// Waits until nobody brings blobs in, and keeps it so until the file is dropped.
    fn own_blobs(&self) -> Result<File, Error> {
        let (file, path) = self.blob_lock()?;
        file.lock().context("lock", path)?;
        Ok(file)
    }

    fn blob_lock(&self) -> Result<(File, PathBuf), Error> {
        let path = self.folder.join("blobs.lock");
        let file = File::create(&path).context("create", &path)?;
        Ok((file, path))
    }
}
