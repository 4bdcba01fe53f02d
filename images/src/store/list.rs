//! What the store holds.

use super::{Store, index};
use crate::{Error, Image, Platform, Reference, manifest::Descriptor};

/// A name in the store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Listed {
    /// The name.
    pub reference: Reference,
    /// The platform it was asked for; the image's own can be another that serves it.
    pub requested: Platform,
    /// The image.
    pub image: Image,
}

impl Store {
    /// Every image in the store, by name and platform.
    ///
    /// # Errors
    /// If the store cannot be read, or an image in it is damaged.
    pub fn list(&self) -> Result<Vec<Listed>, Error> {
        let mut listed = Vec::new();
        for entry in index::read(&self.folder)? {
            let reference: Reference = entry.name.parse()?;
            listed.push(Listed {
                image: self.image(reference.clone(), entry.source, &entry.descriptor)?,
                reference,
                requested: entry.requested,
            });
        }
        listed.sort_by(|a, b| (&a.reference, &a.requested).cmp(&(&b.reference, &b.requested)));
        Ok(listed)
    }

    /// The type of an image's manifest.
    pub(crate) fn media_type(&self, image: &Image) -> Result<Option<String>, Error> {
        Ok(self
            .descriptor(image)?
            .map(|descriptor| descriptor.media_type))
    }

    /// The descriptor by which an image is named.
    pub(super) fn descriptor(&self, image: &Image) -> Result<Option<Descriptor>, Error> {
        let entries = index::read(&self.folder)?;
        let mut descriptors = entries.into_iter().map(|entry| entry.descriptor);
        Ok(descriptors.find(|descriptor| descriptor.digest == image.manifest))
    }
}
