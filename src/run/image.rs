//! The image of a run and its disk, from what is stored or from the image's registry.

use anyhow::{Result, bail};
use images::{Disk, DiskCache, Image, Limits, Platform, Progress, Reference, Store};

use super::Pull;
use crate::home::Home;
use crate::pins::PinOptions;
use crate::platform::Choice;

/// Which image is wanted, and how it may be got.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// Its name.
    pub reference: &'a Reference,
    /// The platform it is for; the best that runs here if absent.
    pub platform: Option<&'a Platform>,
    /// When to fetch it.
    pub pull: Pull,
    /// Which digest it must have.
    pub pins: &'a PinOptions,
    /// Bytes of its disk, if not the usual size.
    pub disk_size: Option<u64>,
}

impl Wanted<'_> {
    /// Finds the image in the store, or fetches it; finds its disk, or builds it, of an image that is
    /// fetched while it comes.
    pub fn get(&self, home: &Home, progress: &dyn Progress) -> Result<(Image, Disk)> {
        let store = Store::open(&home.images())?;
        let disks = DiskCache::open(&home.disks())?
            .with_limits(Limits::read(&home.limits())?)
            .with_size(self.disk_size);
        let reference = self.reference;
        let choice = Choice::new(self.platform, home);
        let options = self.pins.strict_pull_options(reference)?;
        if self.pull != Pull::Always
            && let Some(image) = choice.find(&store, reference, |image| {
                options.locked.is_none_or(|digest| digest == image.source)
            })?
        {
            let disk = disks.disk(&store, &image, progress)?;
            return Ok((image, disk));
        }
        if self.pull == Pull::Never {
            bail!(
                "Image {reference} for {} is not stored here, and --pull=never forbids to \
                 fetch it; get it with `terrarium pull` or `terrarium load`",
                choice.first()
            );
        }
        choice.fetch(|platform| disks.pull(&store, reference, platform, &options, progress))
    }
}
