//! `terrarium disk usage`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use images::{DiskCache, Store};
use kernels::Emulators;
use serde::Serialize;

use crate::home::Home;
use crate::output;
use crate::{table, units};

/// Show what images, disks, kernels and emulators take on this host
#[derive(Args, Debug)]
#[command(after_help = "\
The last line is what `terrarium prune` would free.")]
pub struct UsageOptions {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Usage {
    blob_bytes: u64,
    disk_bytes: u64,
    kernel_bytes: u64,
    emulator_bytes: u64,
    prunable_bytes: u64,
}

pub fn run(options: &UsageOptions) -> Result<ExitCode> {
    let home = Home::open()?;
    let store = Store::open(&home.images())?;
    let disks = DiskCache::open(&home.disks())?;
    let usage = Usage {
        blob_bytes: store.allocated_bytes()?,
        disk_bytes: disks.allocated_bytes()?,
        kernel_bytes: kernels::Store::open(&home.kernels())?.allocated_bytes()?,
        emulator_bytes: Emulators::open(&home.emulators())?.allocated_bytes()?,
        prunable_bytes: store.prunable(&disks)?.bytes,
    };
    if options.json {
        output::json(&usage)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = [
        ("images", usage.blob_bytes),
        ("disks", usage.disk_bytes),
        ("kernels", usage.kernel_bytes),
        ("emulators", usage.emulator_bytes),
        ("prunable", usage.prunable_bytes),
    ];
    let rows = rows.map(|(name, bytes)| [name.to_owned(), units::bytes(bytes)]);
    table::print(["TYPE", "SIZE"], rows.into_iter())?;
    Ok(ExitCode::SUCCESS)
}
