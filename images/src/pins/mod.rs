//! Published digests of images that are part of this product: a tag that suddenly means something
//! else is noticed, and what the image is can be told without a network.

mod inspect;
mod lock_file;

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

pub use inspect::Inspection;
pub use lock_file::LockFile;

use crate::{Descriptor, Digest, Error, Platform, Reference};

/// What the Docker Official Images project has published about `python:2.7.16-alpine3.9`.
const DATA: &str = include_str!("../../data/python-2.7.16-alpine3.9.json");

/// An image with its digests for every platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PublishedImage {
    /// The image's name.
    pub image: String,
    /// The digest that the name stands for.
    pub digest: Digest,
    /// The type of the document with that digest.
    pub media_type: String,
    /// The image for each platform.
    pub platforms: Vec<PublishedPlatform>,
}

/// One platform's image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PublishedPlatform {
    /// The platform.
    pub platform: Platform,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// The manifest's type.
    pub media_type: String,
    /// The image id.
    pub id: Digest,
    /// Bytes of all layers as they are transferred.
    pub size: u64,
    /// What stands before the command.
    pub entrypoint: Vec<String>,
    /// The default command.
    pub command: Vec<String>,
    /// The layers as they are transferred, the lowest first.
    pub layers: Vec<Descriptor>,
}

/// What is known of the image that `reference` names, by its tag, its digest or a platform's.
pub(crate) fn find(reference: &Reference) -> Option<&'static PublishedImage> {
    static PUBLISHED: LazyLock<Option<(Reference, PublishedImage)>> = LazyLock::new(|| {
        let image: PublishedImage = serde_json::from_str(DATA).ok()?;
        Some((image.image.parse().ok()?, image))
    });
    let (name, image) = PUBLISHED.as_ref()?;
    if (reference.domain(), reference.path()) != (name.domain(), name.path()) {
        return None;
    }
    let known = match reference.digest() {
        Some(digest) => {
            let mut manifests = image.platforms.iter().map(|platform| platform.manifest);
            digest == image.digest || manifests.any(|manifest| digest == manifest)
        }
        None => reference.tag() == name.tag(),
    };
    known.then_some(image)
}

/// Checks that a tag resolved to what was published or locked.
pub(crate) fn check(
    reference: &Reference,
    locked: Option<Digest>,
    pinned: bool,
    actual: Digest,
) -> Result<(), Error> {
    let published = find(reference).filter(|_| pinned);
    let expected = locked.or(published.map(|image| image.digest));
    // A mirror may carry one platform only, without the index.
    let one_platform = locked.is_none()
        && published.is_some_and(|image| image.platforms.iter().any(|p| p.manifest == actual));
    match expected {
        Some(expected) if expected != actual && !one_platform => Err(Error::PinMismatch {
            reference: reference.to_string(),
            expected,
            actual,
            remedy: if locked.is_some() {
                "update the lock file"
            } else {
                "take it as it is with --no-pin"
            },
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(text: &str) -> Reference {
        text.parse().unwrap()
    }

    #[test]
    fn the_published_image_is_whole() {
        let image = find(&reference("python:2.7.16-alpine3.9")).unwrap();
        assert_eq!(image.platforms.len(), 7);
        let sizes: Vec<(String, u64)> = image
            .platforms
            .iter()
            .map(|platform| (platform.platform.to_string(), platform.size))
            .collect();
        // The totals that the published page prints.
        let expected = [
            ("linux/amd64", 23_199_130),
            ("linux/arm/v6", 22_198_277),
            ("linux/arm/v7", 21_695_927),
            ("linux/arm64", 23_197_933),
            ("linux/386", 22_639_756),
            ("linux/ppc64le", 24_058_199),
            ("linux/s390x", 23_328_079),
        ];
        assert_eq!(sizes, expected.map(|(name, size)| (name.to_owned(), size)));
        for platform in &image.platforms {
            assert_eq!(platform.command, ["python2"]);
            assert_eq!(platform.layers.len(), 4);
            let layers: u64 = platform.layers.iter().map(|layer| layer.size).sum();
            assert_eq!(layers, platform.size);
        }
    }

    #[test]
    fn is_found_by_its_names_only() {
        let image = find(&reference("docker.io/library/python:2.7.16-alpine3.9")).unwrap();
        let by_digest = reference("python").at_digest(image.digest);
        assert_eq!(find(&by_digest), Some(image));
        let by_platform = reference("python").at_digest(image.platforms[6].manifest);
        assert_eq!(find(&by_platform), Some(image));
        for other in [
            "python",
            "python:2.7",
            "someone/python:2.7.16-alpine3.9",
            "localhost/python:2.7.16-alpine3.9",
        ] {
            assert_eq!(find(&reference(other)), None);
        }
    }

    #[test]
    fn another_digest_is_noticed() {
        let name = reference("python:2.7.16-alpine3.9");
        let image = find(&name).unwrap();
        let other = Digest::of(b"other");
        assert!(check(&name, None, true, image.digest).is_ok());
        assert!(check(&name, None, true, image.platforms[0].manifest).is_ok());
        assert!(check(&name, None, false, other).is_ok());
        assert!(check(&reference("python"), None, true, other).is_ok());
        assert!(check(&reference("python"), Some(other), false, image.digest).is_err());
        let message = check(&name, None, true, other).unwrap_err().to_string();
        assert!(
            message.contains(&other.to_string()) && message.contains(&image.digest.to_string())
        );
    }
}
