//! Loading images from files: OCI layouts and `docker save` archives, as folders or tar archives.

mod docker;
mod layout;
mod source;

use std::path::Path;

use source::Source;

use crate::{
    Digest, Error, Event, Image, Progress, Reference, Store,
    config::ConfigDocument,
    manifest::{DescribedPlatform, Descriptor, MAX_CONFIG, Manifest},
    store::{Entry, Ingest},
};

/// The longest `index.json` or `manifest.json`, in bytes.
const MAX_LIST: u64 = 4 << 20;

impl Store {
    /// Takes in every image of a file or folder: a `docker save` archive (old or new form), or an OCI
    /// image layout. Archives may be compressed.
    ///
    /// An image without a name gets the name of the file, at its digest.
    ///
    /// # Errors
    /// If it is none of these, or what it holds does not match its own digests.
    pub fn load(&self, path: &Path, progress: &dyn Progress) -> Result<Vec<Image>, Error> {
        let source = Source::open(path)?;
        let _keep = self.keep_blobs()?;
        let images = if source.has("index.json") && source.has("oci-layout") {
            layout::load(self, &source, progress)?
        } else if source.has("manifest.json") {
            docker::load(self, &source, progress)?
        } else {
            return Err(source.not_an_image("it has neither an index.json nor a manifest.json"));
        };
        if images.is_empty() {
            return Err(source.not_an_image("it holds no image"));
        }
        Ok(images)
    }

    /// Names an image whose manifest, configuration and layers have been stored.
    fn name_loaded(
        &self,
        reference: Reference,
        descriptor: &Descriptor,
        manifest: &Manifest,
    ) -> Result<Image, Error> {
        let config = self.read_blob(&manifest.config, MAX_CONFIG)?;
        let what = format!("configuration {}", manifest.config.digest);
        let document = ConfigDocument::parse(&config, manifest.layers.len(), &what)?;
        let mut descriptor = descriptor.clone();
        descriptor.platform = Some(DescribedPlatform::from(&document.platform));
        self.name(Entry {
            name: reference.canonical(),
            requested: document.platform,
            source: descriptor.digest,
            descriptor: descriptor.clone(),
        })?;
        self.image(reference, descriptor.digest, &descriptor)
    }

    /// Stores the layer that a source has under `name`.
    fn load_layer(
        &self,
        source: &Source,
        name: &str,
        layer: &Descriptor,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let digest = &layer.digest;
        let present = match self.ingest(layer)? {
            Ingest::Present => true,
            Ingest::Wanted(mut writer) => {
                progress.event(Event::LayerStarted {
                    digest,
                    size: layer.size,
                });
                writer.restart()?;
                let (mut content, _) = source.open_file(name)?;
                writer.copy(&mut content, source.path(), progress)?;
                writer.finish()?;
                false
            }
        };
        progress.event(Event::LayerDone { digest, present });
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
