//! `terrarium df`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use images::{DiskCache, Store};

use crate::home::Home;
use crate::output::line;
use crate::{table, units};

/// Show what images and disks take on this host
#[derive(Args, Debug)]
pub struct DfOptions {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(options: &DfOptions) -> Result<ExitCode> {
    let home = Home::open()?;
    let blobs = Store::open(&home.images())?.allocated_bytes()?;
    let disks = DiskCache::open(&home.disks())?.allocated_bytes()?;
    if options.json {
        let usage = serde_json::json!({ "blob_bytes": blobs, "disk_bytes": disks });
        line!("{usage:#}")?;
    } else {
        let rows = [("images", blobs), ("disks", disks)];
        let rows = rows.map(|(name, bytes)| [name.to_owned(), units::bytes(bytes)]);
        table::print(["TYPE", "SIZE"], rows.into_iter())?;
    }
    Ok(ExitCode::SUCCESS)
}
