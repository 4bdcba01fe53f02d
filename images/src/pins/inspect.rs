//! What an image is, as far as it is known without a network.

use serde::Serialize;

use super::{PublishedImage, PublishedPlatform, find};
use crate::{Error, Reference, Store};

/// What is known of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Inspection {
    /// From the published data of this product, rather than from the store.
    pub published: bool,
    /// The image for each platform that is known.
    #[serde(flatten)]
    pub image: PublishedImage,
}

impl Store {
    /// Tells what is known of `reference`: from the published data, else from what was pulled or
    /// loaded; `None` if neither has it.
    ///
    /// # Errors
    /// If the store cannot be read or is damaged.
    pub fn inspect(&self, reference: &Reference) -> Result<Option<Inspection>, Error> {
        if let Some(image) = find(reference) {
            let mut image = image.clone();
            if let Some(digest) = reference.digest().filter(|digest| *digest != image.digest) {
                image.platforms.retain(|known| known.manifest == digest);
            }
            return Ok(Some(Inspection {
                published: true,
                image,
            }));
        }
        let name = reference.canonical();
        let mut named = self.list()?;
        named.retain(|listed| listed.reference.canonical() == name);
        if named.is_empty() {
            // Under another name it is the same image: once is enough.
            named.extend(self.with_id(reference)?.into_iter().next());
        }
        let mut inspection: Option<Inspection> = None;
        for listed in named {
            let image = listed.image?;
            let media_type = self.media_type(&image)?.unwrap_or_default();
            let known = inspection.get_or_insert_with(|| Inspection {
                published: false,
                image: PublishedImage {
                    image: listed.reference.to_string(),
                    digest: image.source,
                    media_type: media_type.clone(),
                    platforms: Vec::new(),
                },
            });
            known.image.platforms.push(PublishedPlatform {
                size: image.layer_bytes(),
                platform: image.platform,
                manifest: image.manifest,
                media_type,
                id: image.id,
                entrypoint: image.config.entrypoint,
                command: image.config.cmd,
                layers: image.layers,
            });
        }
        Ok(inspection)
    }
}
