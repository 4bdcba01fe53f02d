//! `terrarium inspect`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use images::{Inspection, Platform, PublishedPlatform, Reference, Store};

use crate::home::Home;
use crate::table::escaped;
use crate::units;

/// Show what an image is, without a network
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
        println!("{}", serde_json::to_string_pretty(&inspection)?);
    } else {
        print(&inspection);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(inspection: &Inspection) {
    let image = &inspection.image;
    println!("Image:      {}", image.image);
    println!("Digest:     {}", image.digest);
    println!("Type:       {}", escaped(&image.media_type));
    for platform in &image.platforms {
        println!();
        print_platform(platform);
    }
}

fn print_platform(platform: &PublishedPlatform) {
    let size = platform.size();
    println!("Platform:   {}", platform.platform);
    println!("Manifest:   {}", platform.manifest);
    println!("Type:       {}", escaped(&platform.media_type));
    println!("Image ID:   {}", platform.id);
    println!(
        "Size:       {} ({size} bytes to transfer)",
        units::bytes(size)
    );
    if !platform.entrypoint.is_empty() {
        println!("Entrypoint: {}", words(&platform.entrypoint));
    }
    println!("Command:    {}", words(&platform.command));
    println!("Layers:");
    for layer in &platform.layers {
        println!(
            "  {}  {} bytes  {}",
            layer.digest,
            layer.size,
            escaped(&layer.media_type)
        );
    }
}

/// A command as JSON, as docker shows it.
fn words(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", quoted.join(", "))
}
