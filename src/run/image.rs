//! The image of a run, from the store or its registry.

use anyhow::{Result, bail};
use images::{Image, Platform, Progress, PullOptions, Reference, Store};

use super::Pull;

/// Finds `reference` in the store, or fetches it, as `pull` says.
pub fn find_image(
    store: &Store,
    reference: &Reference,
    platform: &Platform,
    pull: Pull,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Image> {
    if pull != Pull::Always
        && let Some(image) = store.find(reference, platform)?
        && options.locked.is_none_or(|digest| digest == image.source)
    {
        return Ok(image);
    }
    if pull == Pull::Never {
        bail!(
            "Image {reference} for {platform} is not stored here, and --pull=never forbids to \
             fetch it; get it with `terrarium pull` or `terrarium load`"
        );
    }
    Ok(store.pull(reference, platform, options, progress)?)
}
