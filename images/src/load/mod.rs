//! Loading images from files: OCI layouts and `docker save` archives, as folders or tar archives.

mod docker;
mod layout;
mod source;

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use source::Source;

use crate::{
    Digest, Error, Event, Image, Progress, Reference, Store,
    manifest::{DescribedPlatform, Descriptor},
    store::{Entry, Ingest},
};

/// The longest `index.json` or `manifest.json`, in bytes.
const MAX_LIST: u64 = 4 << 20;
/// The most manifests, indexes and names taken from one file or folder, and the most bytes of manifests,
/// indexes and configurations, each counted as often as it is named. A file of a few megabytes could
/// ask for millions.
const MAX_DOCUMENTS: usize = 1000;
const MAX_DOCUMENT_BYTES: u64 = 64 << 20;

impl Store {
    /// Takes in every image of a file or folder: a `docker save` archive (old or new form), or an OCI
    /// image layout. Archives may be compressed.
    ///
    /// An image without a name gets the name of the file, at its digest.
    ///
    /// # Errors
    /// If it is none of these, or what it holds does not match its own digests.
    pub fn load(&self, path: &Path, progress: &dyn Progress) -> Result<Vec<Image>, Error> {
        self.load_source(&Source::open(path, &self.ingest_folder())?, progress)
    }

    /// Takes in every image of an archive that comes as a stream; `name` stands for it in messages. It
    /// is kept in a temporary file of the store until its images are stored.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_stream(
        &self,
        archive: impl Read + Send + 'static,
        name: &str,
        progress: &dyn Progress,
    ) -> Result<Vec<Image>, Error> {
        let source = Source::stream(archive, PathBuf::from(name), &self.ingest_folder())?;
        self.load_source(&source, progress)
    }

    fn load_source(&self, source: &Source, progress: &dyn Progress) -> Result<Vec<Image>, Error> {
        let _keep = self.keep_blobs()?;
        let mut loading = Loading {
            store: self,
            source,
            progress,
            budget: Budget::new(),
            loaded: Vec::new(),
        };
        if source.has("index.json") && source.has("oci-layout") {
            layout::load(&mut loading)?;
        } else if source.has("manifest.json") {
            docker::load(&mut loading)?;
        } else {
            return Err(source.not_an_image("it has neither an index.json nor a manifest.json"));
        }
        let loaded = loading.loaded;
        if loaded.is_empty() {
            return Err(source.not_an_image("it holds no image"));
        }
        let mut images = Vec::new();
        let mut entries = Vec::new();
        for (reference, mut descriptor) in loaded {
            let image = self.image(reference, descriptor.digest, &descriptor)?;
            descriptor.platform = Some(DescribedPlatform::from(&image.platform));
            entries.push(Entry {
                reference: image.reference.clone(),
                requested: image.platform.clone(),
                source: descriptor.digest,
                descriptor,
            });
            images.push(image);
        }
        self.name(entries)?;
        Ok(images)
    }
}

/// A source being loaded into a store.
struct Loading<'a> {
    store: &'a Store,
    source: &'a Source,
    progress: &'a dyn Progress,
    budget: Budget,
    /// Images whose manifests, configurations and layers have been stored, with the names they are to
    /// get.
    loaded: Vec<(Reference, Descriptor)>,
}

impl Loading<'_> {
    /// Reads the list of what the source holds.
    fn list<T: DeserializeOwned>(&self, name: &str) -> Result<T, Error> {
        let bytes = self.source.read(name, MAX_LIST)?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Json {
            what: format!("{name} of {}", self.source.path().display()),
            source: error,
        })
    }

    /// Takes documents from the budget.
    fn take(&mut self, documents: usize, bytes: u64) -> Result<(), Error> {
        self.budget.take(documents, bytes, self.source)
    }

    /// Stores the layer that the source has under `name`.
    fn layer(&self, name: &str, layer: &Descriptor) -> Result<(), Error> {
        let digest = &layer.digest;
        let present = match self.store.ingest(layer)? {
            Ingest::Present => true,
            Ingest::Wanted(mut writer) => {
                self.progress.event(Event::LayerStarted {
                    digest,
                    size: layer.size,
                });
                writer.restart()?;
                let (mut content, _) = self.source.open_file(name)?;
                writer.copy(&mut content, self.source.path(), self.progress)?;
                writer.finish()?;
                false
            }
        };
        self.progress.event(Event::LayerDone { digest, present });
        Ok(())
    }
}

/// What a source may still ask for.
struct Budget {
    documents: usize,
    bytes: u64,
}

impl Budget {
    fn new() -> Self {
        Self {
            documents: MAX_DOCUMENTS,
            bytes: MAX_DOCUMENT_BYTES,
        }
    }

    /// Takes documents, or other names for them, of `bytes` bytes; refuses the source if it has too many.
    fn take(&mut self, documents: usize, bytes: u64, source: &Source) -> Result<(), Error> {
        let left = (self.documents.checked_sub(documents)).zip(self.bytes.checked_sub(bytes));
        (self.documents, self.bytes) = left.ok_or_else(|| {
            source.not_an_image(&format!(
                "it has more than {MAX_DOCUMENTS} images, indexes and names, or more than {} MiB of them",
                MAX_DOCUMENT_BYTES >> 20
            ))
        })?;
        Ok(())
    }
}

/// The name of an image that has none: that of its file, where it can be one, at its digest.
fn unnamed(path: &Path, digest: Digest) -> Result<Reference, Error> {
    let stem: String = path
        .file_name()
        .map(|name| name.to_string_lossy().to_lowercase())
        .unwrap_or_default()
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    let name = if stem.is_empty() { "image" } else { &stem };
    let reference: Reference = format!("localhost/{name}").parse()?;
    Ok(reference.at_digest(digest))
}
