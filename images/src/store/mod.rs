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
    fs::File,
    path::{Path, PathBuf},
};

pub(crate) use blobs::{BlobWriter, Ingest, check_digest, check_size};
pub(crate) use index::Entry;
pub use list::Listed;
pub use prune::Pruned;
pub(crate) use prune::{Unneeded, allocated, unused_disk};

use crate::{
    Digest, Error, Image, Platform, Reference,
    config::ConfigDocument,
    error::FileContext,
    manifest::{Descriptor, Document, MAX_CONFIG, MAX_MANIFEST, Manifest},
    private::{self, create_private_folder},
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
            create_private_folder(&path).context("create", path)?;
        }
        let layout = folder.join("oci-layout");
        if !layout.exists() {
            let _lock = lock(folder)?;
            staging::replace(&layout, br#"{"imageLayoutVersion":"1.0.0"}"#, private::FILE)?;
        }
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// The image that `reference` meant for `platform` when it was last pulled or loaded; if it is no
    /// name in the store, the image whose id it begins, of whatever platform.
    ///
    /// # Errors
    /// If the store cannot be read or is damaged, or ids of several images begin so.
    pub fn find(&self, reference: &Reference, platform: &Platform) -> Result<Option<Image>, Error> {
        let name = reference.canonical();
        let entries = self.entries()?;
        let found = entries
            .iter()
            .find(|entry| entry.reference.canonical() == name && entry.requested == *platform);
        match found {
            Some(entry) => self
                .image(reference.clone(), entry.source, &entry.descriptor)
                .map(Some),
            None => {
                let first = self.with_id(reference)?.into_iter().next();
                first.map(|listed| listed.image).transpose()
            }
        }
    }

    /// The names in the store.
    fn entries(&self) -> Result<Vec<Entry>, Error> {
        let own = |descriptor: &Descriptor| {
            let config = self.manifest(descriptor).and_then(|it| self.config(&it));
            config.map_or_else(|_| Platform::unknown(), |config| config.platform)
        };
        index::read(&self.folder, own)
    }

    /// Gives images in the store their names: all at once, or none.
    pub(crate) fn name(&self, named: impl IntoIterator<Item = Entry>) -> Result<(), Error> {
        let _lock = lock(&self.folder)?;
        let mut entries = self.entries()?;
        for entry in named {
            entries.retain(|other| {
                other.reference != entry.reference || other.requested != entry.requested
            });
            entries.push(entry);
        }
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
        let document = self.config(&manifest)?;
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

    fn config(&self, manifest: &Manifest) -> Result<ConfigDocument, Error> {
        let config = self.read_blob(&manifest.config, MAX_CONFIG)?;
        let what = format!("configuration {}", manifest.config.digest);
        ConfigDocument::parse(&config, manifest.layers.len(), &what)
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs/sha256").join(digest.hex())
    }

    /// The folder of what is on its way in.
    pub(crate) fn ingest_folder(&self) -> PathBuf {
        self.folder.join("ingest")
    }

    fn ingest_path(&self, digest: &Digest) -> PathBuf {
        self.ingest_folder().join(digest.hex())
    }
}

/// Locks the store's index for a change. The lock ends when the file is dropped.
fn lock(folder: &Path) -> Result<File, Error> {
    let path = folder.join("lock");
    let file = private::lock_file(&path).context("create", &path)?;
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
        let file = private::lock_file(&path).context("create", &path)?;
        Ok((file, path))
    }
}
