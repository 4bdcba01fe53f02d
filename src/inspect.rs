//! `terrarium inspect`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use images::{Inspection, Platform, PublishedPlatform, Reference, Store};

use crate::escape::escaped;
use crate::home::Home;
use crate::output::{self, line};
use crate::units;

#[derive(Args, Debug)]
#[command(after_help = "\
Shows what has been published about python:2.7.16-alpine3.9, and what was pulled or loaded of any other
image.")]
pub struct InspectOptions {
    /// Only this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// The image, such as python:2.7.16-alpine3.9
    image: Reference,
}

pub fn run(options: &InspectOptions) -> Result<ExitCode> {
    let store = Store::open(&Home::open()?.images())?;
    let Some(mut inspection) = store.inspect(&options.image)? else {
        let image = &options.image;
        bail!("{image} is not stored here; get it with `terrarium pull {image}`");
    };
    if let Some(platform) = &options.platform {
        let platforms = &mut inspection.image.platforms;
        let all: Vec<String> = platforms.iter().map(|p| p.platform.to_string()).collect();
        platforms.retain(|known| known.platform == *platform);
        if platforms.is_empty() {
            let (image, all) = (&options.image, all.join(", "));
            bail!("{image} is not known for {platform}, only for {all}");
        }
    }
    if options.json {
        output::json(&inspection)?;
    } else {
        print(&inspection)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(inspection: &Inspection) -> Result<()> {
    let image = &inspection.image;
    line!("Image:      {}", image.image)?;
    line!("Digest:     {}", image.digest)?;
    line!("Type:       {}", escaped(&image.media_type))?;
    for platform in &image.platforms {
        line!("")?;
        print_platform(platform)?;
    }
    Ok(())
}

fn print_platform(platform: &PublishedPlatform) -> Result<()> {
    let size = platform.size;
    line!("Platform:   {}", platform.platform)?;
    line!("Manifest:   {}", platform.manifest)?;
    line!("Type:       {}", escaped(&platform.media_type))?;
    line!("Image ID:   {}", platform.id)?;
    line!(
        "Size:       {} ({size} bytes to transfer)",
        units::bytes(size)
    )?;
    if !platform.entrypoint.is_empty() {
        line!("Entrypoint: {}", words(&platform.entrypoint)?)?;
    }
    line!("Command:    {}", words(&platform.command)?)?;
    line!("Layers:")?;
    for layer in &platform.layers {
        line!(
            "  {}  {} bytes  {}",
            layer.digest,
            layer.size,
            escaped(&layer.media_type)
        )?;
    }
    Ok(())
}

/// A command as JSON, as docker shows it.
fn words(words: &[String]) -> Result<String> {
    let quoted = words.iter().map(serde_json::to_string);
    let quoted = quoted.collect::<Result<Vec<_>, _>>()?;
    Ok(escaped(&format!("[{}]", quoted.join(", "))))
}
