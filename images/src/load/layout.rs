//! OCI image layouts (OCI image specification, image-layout.md), such as new `docker save` archives.

use super::{Loading, Source, unnamed};
use crate::{
    Digest, Error, Reference,
    manifest::{Descriptor, Document, Index, MAX_CONFIG, MAX_MANIFEST},
    store::{check_digest, check_size},
};

/// Names that tools write, the fullest first.
const NAMES: [&str; 2] = [
    "io.containerd.image.name",
    "org.opencontainers.image.ref.name",
];
/// How deep indexes may lie in indexes.
const MAX_DEPTH: usize = 4;

pub(super) fn load(loading: &mut Loading<'_>) -> Result<(), Error> {
    let index: Index = loading.list("index.json")?;
    for descriptor in &index.manifests {
        let reference = reference(loading.source, descriptor)?;
        loading.document(descriptor, &reference, 0)?;
    }
    Ok(())
}

impl Loading<'_> {
    /// Loads a manifest, or every image of an index that the source holds.
    fn document(
        &mut self,
        descriptor: &Descriptor,
        reference: &Reference,
        depth: usize,
    ) -> Result<(), Error> {
        self.take(1, descriptor.size)?;
        let what = self.what("manifest", descriptor);
        let bytes = self.blob(descriptor, MAX_MANIFEST)?;
        match Document::parse(&bytes, &descriptor.media_type, &what)? {
            Document::Manifest(manifest) => {
                self.take(0, manifest.config.size)?;
                let config = self.blob(&manifest.config, MAX_CONFIG)?;
                self.store.put(&manifest.config, &config)?;
                for layer in &manifest.layers {
                    self.layer(&blob_name(&layer.digest), layer)?;
                }
                let mut descriptor = descriptor.clone();
                descriptor.annotations.clear();
                if let Some(media_type) = &manifest.media_type {
                    descriptor.media_type.clone_from(media_type);
                }
                self.store.put(&descriptor, &bytes)?;
                self.loaded.push((reference.clone(), descriptor));
            }
            Document::Index(_) if depth == MAX_DEPTH => {
                return Err(self
                    .source
                    .not_an_image("its indexes are nested too deeply"));
            }
            Document::Index(index) => {
                for (descriptor, _) in index.images() {
                    // An archive of one platform keeps the index of all of them.
                    if self.source.has(&blob_name(&descriptor.digest)) {
                        self.document(descriptor, reference, depth + 1)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, Error> {
        let what = || self.what("blob", descriptor);
        let bytes = self.source.read(&blob_name(&descriptor.digest), limit)?;
        check_size(what, descriptor.size, bytes.len() as u64)?;
        check_digest(what, descriptor.digest, Digest::of(&bytes))?;
        Ok(bytes)
    }

    fn what(&self, kind: &str, descriptor: &Descriptor) -> String {
        let path = self.source.path().display();
        format!("{kind} {} of {path}", descriptor.digest)
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The name that the layout gives, else one made from the file's. A bare tag, as `umoci` and `skopeo`
/// write it, becomes a local name.
fn reference(source: &Source, descriptor: &Descriptor) -> Result<Reference, Error> {
    let name = NAMES
        .iter()
        .find_map(|key| descriptor.annotations.get(*key));
    let stem = unnamed(source.path(), descriptor.digest)?;
    match name {
        None => Ok(stem),
        Some(name) if name.contains(['/', ':', '@']) => name.parse(),
        Some(tag) => format!("{}/{}:{tag}", stem.domain(), stem.path()).parse(),
    }
}
