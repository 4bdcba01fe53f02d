//! An image in the store.

use crate::{Digest, ImageConfig, Platform, Reference, manifest::Descriptor};

/// An image for one platform whose manifest, configuration and layers are in the store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Image {
    /// The name it was asked for by.
    pub reference: Reference,
    /// The platform it was made for.
    pub platform: Platform,
    /// What the name stood for: the digest of the index that lists the image, or of its manifest.
    pub source: Digest,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// The image id: the digest of its configuration.
    pub id: Digest,
    /// How to run it.
    pub config: ImageConfig,
    /// When it was made (RFC 3339), as its author says.
    pub created: Option<String>,
    /// Its layers as they are stored, the lowest first.
    pub layers: Vec<Descriptor>,
    /// The digests of the layers' inflated archives, in the same order.
    pub diff_ids: Vec<Digest>,
}

impl Image {
    /// Bytes of all layers as they are stored and transferred.
    #[must_use]
    pub fn layer_bytes(&self) -> u64 {
        // What a manifest says may add up to anything.
        let sizes = self.layers.iter().map(|layer| layer.size);
        sizes.fold(0, u64::saturating_add)
    }
}
