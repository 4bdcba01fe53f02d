//! `terrarium rmi`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use images::{DiskCache, Platform, Reference, Store};

use crate::home::Home;
use crate::output::line;

/// Remove images, and what no other image needs
#[derive(Args, Debug)]
pub struct RmiOptions {
    /// Only the image for this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,

    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<Reference>,
}

pub fn run(options: &RmiOptions) -> Result<ExitCode> {
    let home = Home::open()?;
    let store = Store::open(&home.images())?;
    let mut missing = Vec::new();
    for reference in &options.images {
        if store.remove(reference, options.platform.as_ref())? > 0 {
            line!("{reference}")?;
        } else {
            missing.push(reference.to_string());
        }
    }
    store.prune(&DiskCache::open(&home.disks())?)?;
    if !missing.is_empty() {
        let names = missing.join(", ");
        bail!("Not stored here: {names}; `terrarium images` lists what is");
    }
    Ok(ExitCode::SUCCESS)
}
