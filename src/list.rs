//! `terrarium images`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use images::{DiskCache, Image, Listed, Reference, Store};
use serde::Serialize;

use crate::escape;
use crate::home::Home;
use crate::output::{self, line, say};
use crate::table;
use crate::units;

#[derive(Args, Debug)]
#[command(after_help = "\
SIZE is what an image's blobs and its disk take on this host. Blobs that several images share count for
each of them; `terrarium disk usage` counts them once.

Examples:
  terrarium images
  terrarium images python              every tag of python
  terrarium rmi $(terrarium images -q)")]
pub struct ImagesOptions {
    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Print image ids only
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,

    /// Only images of this name; without a tag, every tag of it
    #[arg(value_name = "IMAGE")]
    name: Option<Reference>,
}

#[derive(Serialize)]
struct Row {
    image: String,
    platform: String,
    #[serde(flatten)]
    content: Content,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content {
    Whole {
        digest: String,
        id: String,
        created: Option<String>,
        blob_bytes: u64,
        disk_bytes: Option<u64>,
    },
    Damaged {
        damage: String,
    },
}

pub fn run(options: &ImagesOptions) -> Result<ExitCode> {
    let home = Home::open()?;
    let disks = DiskCache::open(&home.disks())?;
    let mut listed = Store::open(&home.images())?.list()?;
    if let Some(name) = &options.name {
        listed.retain(|listed| is_meant(name, &listed.reference));
    }
    let rows: Vec<Row> = listed
        .into_iter()
        .map(|listed| row(listed, &disks))
        .collect::<Result<_>>()?;
    if options.json {
        output::json(&rows)?;
    } else if options.quiet {
        let mut ids: Vec<String> = rows.iter().filter_map(short_id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.iter().try_for_each(|text| line!("{text}"))?;
    } else {
        print(&rows)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn is_meant(name: &Reference, stored: &Reference) -> bool {
    let same = (name.domain(), name.path()) == (stored.domain(), stored.path());
    let whole = name.tag().is_none() && name.digest().is_none();
    same && (whole || name.canonical() == stored.canonical())
}

fn print(rows: &[Row]) -> Result<()> {
    let lines = rows.iter().map(|row| {
        let size = match &row.content {
            Content::Whole {
                blob_bytes,
                disk_bytes,
                ..
            } => units::bytes(blob_bytes.saturating_add(disk_bytes.unwrap_or(0))),
            Content::Damaged { .. } => String::new(),
        };
        let id = short_id(row).unwrap_or_else(|| "<damaged>".to_owned());
        [row.image.clone(), row.platform.clone(), id, size]
    });
    table::print(["IMAGE", "PLATFORM", "IMAGE ID", "SIZE"], lines)?;
    for row in rows {
        if let Content::Damaged { damage } = &row.content {
            let image = &row.image;
            say!(
                "terrarium: {image} is damaged: {}; pull it again, or remove it with `terrarium rmi {image}`",
                escape::message(damage)
            );
        }
    }
    Ok(())
}

/// The first 12 digits of the image id, as docker shows it.
fn short_id(row: &Row) -> Option<String> {
    match &row.content {
        Content::Whole { id, .. } => id.get(7..19).map(str::to_owned),
        Content::Damaged { .. } => None,
    }
}

fn row(listed: Listed, disks: &DiskCache) -> Result<Row> {
    let platform = listed.image.as_ref().map(|image| &image.platform);
    Ok(Row {
        image: listed.reference.to_string(),
        platform: platform.unwrap_or(&listed.requested).to_string(),
        content: match listed.image {
            Ok(image) => whole(image, disks)?,
            Err(error) => Content::Damaged {
                damage: format!("{:#}", anyhow::Error::from(error)),
            },
        },
    })
}

fn whole(image: Image, disks: &DiskCache) -> Result<Content> {
    Ok(Content::Whole {
        digest: image.source.to_string(),
        id: image.id.to_string(),
        blob_bytes: image.layer_bytes(),
        disk_bytes: disks.disk_bytes(&image)?,
        created: image.created,
    })
}
