//! Manifests and indexes: docker's schema 2 and the OCI's, which differ in their media types only.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, SeqAccess},
};

use crate::{Digest, Error, Platform};

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The longest manifest or index taken, in bytes: the limit of common registries.
pub(crate) const MAX_MANIFEST: u64 = 4 << 20;
/// The longest image configuration taken, in bytes.
pub(crate) const MAX_CONFIG: u64 = 8 << 20;
/// The most layers taken; overlay file systems stop at 128.
const MAX_LAYERS: usize = 1000;

/// Points to a blob (OCI image specification, descriptor.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What kind of content it is.
    #[serde(default)]
    pub media_type: String,
    /// The content's digest.
    pub digest: Digest,
    /// The content's length in bytes.
    pub size: u64,
    /// The platform, where an index lists manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<DescribedPlatform>,
    /// Free-form notes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Describes `bytes`.
    pub(crate) fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    /// Describes `size` bytes with `digest`.
    pub(crate) fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            platform: None,
            annotations: BTreeMap::new(),
        }
    }
}

/// A platform as an index spells it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DescribedPlatform {
    pub(crate) architecture: String,
    pub(crate) os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) variant: Option<String>,
}

impl DescribedPlatform {
    pub(crate) fn normalized(&self) -> Result<Platform, Error> {
        Platform::checked(&self.os, &self.architecture, self.variant.as_deref())
    }
}

impl From<&Platform> for DescribedPlatform {
    fn from(platform: &Platform) -> Self {
        Self {
            architecture: platform.architecture().to_owned(),
            os: platform.os().to_owned(),
            variant: platform.variant().map(str::to_owned),
        }
    }
}

/// An image index or manifest list.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub(crate) schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) media_type: Option<String>,
    #[serde(default, deserialize_with = "described")]
    pub(crate) manifests: Vec<Descriptor>,
}

/// Descriptors, without those whose digests are of other algorithms: an image that cannot be checked must
/// not hide the others.
fn described<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Descriptor>, D::Error> {
    struct Visitor;

    impl<'de> de::Visitor<'de> for Visitor {
        type Value = Vec<Descriptor>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of descriptors")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut descriptors = Vec::new();
            while let Some(any) = list.next_element::<AnyDescriptor>()? {
                descriptors.extend(any.known().map_err(de::Error::custom)?);
            }
            Ok(descriptors)
        }
    }

    deserializer.deserialize_seq(Visitor)
}

/// A descriptor with a digest of any algorithm.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyDescriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    platform: Option<DescribedPlatform>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl AnyDescriptor {
    /// `None` if the digest's algorithm is not supported.
    fn known(self) -> Result<Option<Descriptor>, Error> {
        let digest = match self.digest.parse() {
            Err(Error::DigestAlgorithm { .. }) => return Ok(None),
            digest => digest?,
        };
        Ok(Some(Descriptor {
            media_type: self.media_type,
            digest,
            size: self.size,
            platform: self.platform,
            annotations: self.annotations,
        }))
    }
}

/// An image manifest.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) media_type: Option<String>,
    pub(crate) config: Descriptor,
    #[serde(default)]
    pub(crate) layers: Vec<Descriptor>,
}

/// What a reference or descriptor leads to.
#[derive(Clone, Debug)]
pub(crate) enum Document {
    Index(Index),
    Manifest(Manifest),
}

impl Document {
    /// Reads a manifest or index. `media_type` is what the carrier says; the document's own word and
    /// shape decide where that is missing or generic.
    pub(crate) fn parse(bytes: &[u8], media_type: &str, what: &str) -> Result<Self, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Shape {
            schema_version: u32,
            media_type: Option<String>,
            config: Option<serde::de::IgnoredAny>,
            layers: Option<serde::de::IgnoredAny>,
            manifests: Option<serde::de::IgnoredAny>,
        }
        let json = |source| Error::Json {
            what: what.to_owned(),
            source,
        };
        let shape: Shape = serde_json::from_slice(bytes).map_err(json)?;
        if shape.schema_version != 2 {
            return Err(Error::Document {
                what: what.to_owned(),
                reason: format!(
                    "it has schema version {}, and only 2 is supported: push the image again with a current tool",
                    shape.schema_version
                ),
            });
        }
        // Different readers would see different images under one digest (CVE-2021-41190).
        if shape.manifests.is_some() && (shape.config.is_some() || shape.layers.is_some()) {
            return Err(Error::Document {
                what: what.to_owned(),
                reason: "it is an index and a manifest at the same time".to_owned(),
            });
        }
        let named = shape.media_type.as_deref().unwrap_or(media_type);
        let is_index = match named {
            OCI_INDEX | DOCKER_LIST => true,
            OCI_MANIFEST | DOCKER_MANIFEST => false,
            _ => shape.config.is_none(),
        };
        if is_index {
            serde_json::from_slice(bytes).map(Self::Index).map_err(json)
        } else {
            let manifest: Manifest = serde_json::from_slice(bytes).map_err(json)?;
            manifest.check(what)?;
            Ok(Self::Manifest(manifest))
        }
    }
}

impl Manifest {
    /// Checks that it is an image, and one of a usual size.
    pub(crate) fn check(&self, what: &str) -> Result<(), Error> {
        let unusable = |reason: String| {
            Err(Error::Document {
                what: what.to_owned(),
                reason,
            })
        };
        if !matches!(self.config.media_type.as_str(), OCI_CONFIG | DOCKER_CONFIG) {
            return unusable(format!(
                "it is an artifact of type {:?}, not a container image",
                shorten(&self.config.media_type)
            ));
        }
        if self.config.size > MAX_CONFIG {
            return unusable(format!(
                "its configuration is larger than {MAX_CONFIG} bytes"
            ));
        }
        if self.layers.len() > MAX_LAYERS {
            return unusable(format!("it has more than {MAX_LAYERS} layers"));
        }
        for layer in &self.layers {
            check_layer_type(&layer.media_type)
                .or_else(|reason| unusable(format!("layer {}: {reason}", layer.digest)))?;
        }
        Ok(())
    }
}

/// Accepts file system layers. Their compression is told by their first bytes, as media types lie.
fn check_layer_type(media_type: &str) -> Result<(), String> {
    if media_type.contains("nondistributable") || media_type.contains(".foreign.") {
        return Err(
            "it is a foreign layer, which its registry does not carry (Windows base images have them)"
                .to_owned(),
        );
    }
    let known = media_type.starts_with(OCI_LAYER)
        || media_type.starts_with("application/vnd.docker.image.rootfs.diff.tar");
    if !known || media_type.contains("encrypted") {
        return Err(format!(
            "it has type {:?}, which is not a file system layer",
            shorten(media_type)
        ));
    }
    Ok(())
}

fn shorten(text: &str) -> String {
    text.chars().take(100).collect()
}

impl Index {
    /// The manifest that serves `platform` best. Attestations and other artifacts are passed over.
    pub(crate) fn choose(
        &self,
        platform: &Platform,
        reference: &str,
    ) -> Result<&Descriptor, Error> {
        self.images()
            .filter_map(|(descriptor, offered)| Some((platform.distance(&offered)?, descriptor)))
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, descriptor)| descriptor)
            .ok_or_else(|| Error::NoPlatform {
                reference: reference.to_owned(),
                wanted: platform.clone(),
                available: self.images().map(|(_, offered)| offered).collect(),
            })
    }

    /// The manifests of images, with their platforms. One whose platform is malformed serves nobody.
    pub(crate) fn images(&self) -> impl Iterator<Item = (&Descriptor, Platform)> {
        self.manifests.iter().filter_map(|descriptor| {
            let platform = descriptor.platform.as_ref()?;
            let attestation = platform.os == "unknown"
                || descriptor
                    .annotations
                    .contains_key("vnd.docker.reference.type");
            let platform = platform.normalized().ok()?;
            (!attestation).then_some((descriptor, platform))
        })
    }
}

#[cfg(test)]
mod tests;
