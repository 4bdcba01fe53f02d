//! `terrarium prune`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use images::{DiskCache, Store};

use crate::home::Home;
use crate::output::{self, line};
use crate::{run, units};

#[derive(Args, Debug)]
#[command(after_help = "\
Images that have a name stay: remove those with `terrarium rmi`. `terrarium disk usage` shows beforehand
what would be freed.")]
pub struct PruneOptions {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(options: &PruneOptions) -> Result<ExitCode> {
    let home = Home::open()?;
    let disks = DiskCache::open(&home.disks())?;
    run::prune_names(&home.run())?;
    let pruned = Store::open(&home.images())?.prune(&disks)?;
    if options.json {
        output::json(&pruned)?;
    } else {
        line!(
            "Removed {} and {}, {}",
            units::count(pruned.blobs, "blob"),
            units::count(pruned.disks, "disk"),
            units::bytes(pruned.bytes)
        )?;
    }
    Ok(ExitCode::SUCCESS)
}
