//! `terrarium rmi`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use images::{Digest, DiskCache, Platform, Reference, Store};

use crate::home::Home;
use crate::output::line;

#[derive(Args, Debug)]
#[command(after_help = "\
IMAGE is a name, or the first digits of an image id. A machine that runs keeps its disk until it ends.

Examples:
  terrarium rmi python:2.7.16-alpine3.9
  terrarium rmi 5e5f7d9c1a2b")]
pub struct RmiOptions {
    /// Only the image for this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,

    /// Remove an image by its id even if it has several names; do not mind what is not stored
    #[arg(short, long)]
    force: bool,

    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<Reference>,
}

pub fn run(options: &RmiOptions) -> Result<ExitCode> {
    let home = Home::open()?;
    let store = Store::open(&home.images())?;
    let before = ids(&store)?;
    let mut failures = Vec::new();
    for image in &options.images {
        match remove(&store, image, options) {
            Ok(removed) => removed.iter().try_for_each(|text| line!("{text}"))?,
            Err(error) => failures.push(error),
        }
    }
    store.prune(&DiskCache::open(&home.disks())?)?;
    for id in before.difference(&ids(&store)?) {
        line!("Deleted: {id}")?;
    }
    if !failures.is_empty() {
        let failures: Vec<String> = failures.iter().map(|error| format!("{error:#}")).collect();
        bail!("{}", failures.join("\n"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes names away; returns a line for each, as docker prints it.
fn remove(store: &Store, image: &Reference, options: &RmiOptions) -> Result<Vec<String>> {
    let untag = |name: &Reference, platform: Option<&Platform>| -> Result<Vec<String>> {
        let platforms = store.remove(name, platform)?;
        let many = platforms.len() > 1 || platform.is_some();
        let line = |platform: &Platform| match many {
            true => format!("Untagged: {name} ({platform})"),
            false => format!("Untagged: {name}"),
        };
        Ok(platforms.iter().map(line).collect())
    };
    let removed = untag(image, options.platform.as_ref())?;
    if !removed.is_empty() {
        return Ok(removed);
    }
    let mut found = store.with_id(image)?;
    if let Some(platform) = &options.platform {
        found.retain(|listed| listed.requested == *platform);
    }
    let names: BTreeSet<String> = found.iter().map(|it| it.reference.to_string()).collect();
    if names.len() > 1 && !options.force {
        let names: Vec<String> = names.into_iter().collect();
        bail!(
            "Image {image} has several names: {}; remove those, or all with --force",
            names.join(", ")
        );
    }
    if found.is_empty() && !options.force {
        return Err(anyhow!(
            "No such image: {image}; `terrarium images` lists what is stored"
        ));
    }
    let mut lines = Vec::new();
    for listed in found {
        lines.append(&mut untag(&listed.reference, Some(&listed.requested))?);
    }
    Ok(lines)
}

/// The ids of all images that are whole.
fn ids(store: &Store) -> Result<BTreeSet<Digest>> {
    let listed = store.list()?.into_iter();
    Ok(listed
        .filter_map(|listed| Some(listed.image.ok()?.id))
        .collect())
}
