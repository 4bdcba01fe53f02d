//! `terrarium prune`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use images::{DiskCache, Store};

use crate::home::Home;
use crate::output::line;
use crate::units;

/// Remove blobs and disks that no image needs, and what crashed runs left
#[derive(Args, Debug)]
pub struct PruneOptions {}

pub fn run(_options: &PruneOptions) -> Result<ExitCode> {
    let home = Home::open()?;
    let disks = DiskCache::open(&home.disks())?;
    let pruned = Store::open(&home.images())?.prune(&disks)?;
    line!(
        "Removed {} blobs and {} disks, {}",
        pruned.blobs,
        pruned.disks,
        units::bytes(pruned.bytes)
    )?;
    Ok(ExitCode::SUCCESS)
}
