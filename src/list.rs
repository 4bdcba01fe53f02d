//! `terrarium images`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use images::{DiskCache, Listed, Store};
use serde::Serialize;

use crate::escape;
use crate::home::Home;
use crate::output::line;
use crate::table;
use crate::units;

/// List the images stored here
#[derive(Args, Debug)]
#[command(after_help = "\
SIZE is what an image's blobs and its disk take on this host. Blobs that several images share count for
each of them; `terrarium df` counts them once.")]
pub struct ImagesOptions {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    image: String,
    platform: String,
    digest: String,
    id: String,
    created: Option<String>,
    blob_bytes: u64,
    disk_bytes: Option<u64>,
}

pub fn run(options: &ImagesOptions) -> Result<ExitCode> {
    let home = Home::open()?;
    let disks = DiskCache::open(&home.disks())?;
    let rows: Vec<Row> = Store::open(&home.images())?
        .list()?
        .into_iter()
        .map(|listed| row(listed, &disks))
        .collect::<Result<_>>()?;
    if options.json {
        line!("{}", escape::json(&rows)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let lines = rows.iter().map(|row| {
        [
            row.image.clone(),
            row.platform.clone(),
            row.id.get(7..19).unwrap_or_default().to_owned(),
            units::bytes(row.blob_bytes + row.disk_bytes.unwrap_or(0)),
        ]
    });
    table::print(["IMAGE", "PLATFORM", "IMAGE ID", "SIZE"], lines)?;
    Ok(ExitCode::SUCCESS)
}

fn row(listed: Listed, disks: &DiskCache) -> Result<Row> {
    Ok(Row {
        image: listed.reference.to_string(),
        platform: listed.image.platform.to_string(),
        digest: listed.image.source.to_string(),
        id: listed.image.id.to_string(),
        blob_bytes: listed.image.layer_bytes(),
        disk_bytes: disks.disk_bytes(&listed.image)?,
        created: listed.image.created,
    })
}
