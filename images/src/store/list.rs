//! What the store holds.

use super::Store;
use crate::{Error, Image, Platform, Reference, manifest::Descriptor};

/// A name in the store.
#[derive(Debug)]
#[non_exhaustive]
pub struct Listed {
    /// The name.
    pub reference: Reference,
    /// The platform it was asked for; the image's own can be another that serves it.
    pub requested: Platform,
    /// The image, or what is wrong with it.
    pub image: Result<Image, Error>,
}

/// The fewest digits by which an image id can be meant.
const MIN_ID: usize = 4;

impl Store {
    /// Every image in the store, by name and platform; also those that are damaged.
    ///
    /// # Errors
    /// If the store's index cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, Error> {
        let entries = self.entries()?;
        let mut listed: Vec<Listed> = entries
            .into_iter()
            .map(|entry| Listed {
                image: self.image(entry.reference.clone(), entry.source, &entry.descriptor),
                reference: entry.reference,
                requested: entry.requested,
            })
            .collect();
        listed.sort_by(|a, b| (&a.reference, &a.requested).cmp(&(&b.reference, &b.requested)));
        Ok(listed)
    }

    /// The images, under all their names, whose id begins as `reference` says: docker takes the first
    /// digits of an id where it takes a name, with `sha256:` in front or not. None if `reference` cannot
    /// be meant so.
    ///
    /// # Errors
    /// If the store's index cannot be read, or ids of several images begin so.
    pub fn with_id(&self, reference: &Reference) -> Result<Vec<Listed>, Error> {
        let Some(prefix) = id_prefix(reference) else {
            return Ok(Vec::new());
        };
        let begins = |image: &Image| image.id.hex().starts_with(prefix);
        let mut found = self.list()?;
        found.retain(|listed| listed.image.as_ref().is_ok_and(begins));
        let mut ids: Vec<String> = found
            .iter()
            .filter_map(|listed| Some(listed.image.as_ref().ok()?.id.to_string()))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() > 1 {
            return Err(Error::AmbiguousId {
                prefix: prefix.to_owned(),
                ids,
            });
        }
        Ok(found)
    }

    /// The type of an image's manifest.
    pub(crate) fn media_type(&self, image: &Image) -> Result<Option<String>, Error> {
        Ok(self
            .descriptor(image)?
            .map(|descriptor| descriptor.media_type))
    }

    /// The descriptor by which an image is named.
    pub(super) fn descriptor(&self, image: &Image) -> Result<Option<Descriptor>, Error> {
        let entries = self.entries()?;
        let mut descriptors = entries.into_iter().map(|entry| entry.descriptor);
        Ok(descriptors.find(|descriptor| descriptor.digest == image.manifest))
    }
}

/// The digits of an image id, if a reference can stand for one: `f8e4c1…` reads as a repository of that
/// name, `sha256:f8e4c1…` as a tag of the repository `sha256`.
fn id_prefix(reference: &Reference) -> Option<&str> {
    if reference.domain() != "docker.io" || reference.digest().is_some() {
        return None;
    }
    let name = reference.path().strip_prefix("library/")?;
    let digits = match reference.tag() {
        None => name,
        Some(tag) if name == "sha256" => tag,
        Some(_) => return None,
    };
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (digits.len() >= MIN_ID && digits.bytes().all(is_digit)).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_can_be_an_id() {
        for (text, digits) in [
            ("f8e4", Some("f8e4")),
            ("sha256:f8e4c1", Some("f8e4c1")),
            ("f8e", None),
            ("f8e4:1", None),
            ("cafes", None),
            ("a/f8e4", None),
            ("host:1/f8e4", None),
            ("python", None),
        ] {
            assert_eq!(id_prefix(&text.parse().unwrap()), digits, "{text}");
        }
    }
}
