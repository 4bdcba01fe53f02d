//! `terrarium disk`.

mod usage;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use images::{Platform, Reference};

use crate::home::Home;
use crate::output::line;
use crate::pins::PinOptions;
use crate::sink::{self, Sink};
use crate::{progress, run};

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "\
Without --output, the path of the cached disk is printed: read it, but do not write to it. A copy in a
file has holes where the disk is empty; a device or a pipe gets zeros there. An image that is called usage
is `usage:latest` here.

Examples:
  terrarium disk python:2.7.16-alpine3.9
  terrarium disk -o python.ext4 python:2.7.16-alpine3.9
  terrarium disk usage")]
pub struct DiskOptions {
    #[command(subcommand)]
    command: Option<DiskCommand>,

    /// Platform of the image, such as linux/amd64; the best that runs here if absent
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,

    /// Write a copy of the disk to this file or device; - is standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// When to fetch the image
    #[arg(long, value_enum, value_name = "WHEN", default_value = "missing")]
    pull: run::Pull,

    #[command(flatten)]
    pins: PinOptions,

    /// No progress
    #[arg(short, long)]
    quiet: bool,

    /// The image, such as python:2.7.16-alpine3.9
    #[arg(required = true)]
    image: Option<Reference>,
}

#[derive(Subcommand, Debug)]
enum DiskCommand {
    Usage(usage::UsageOptions),
}

pub fn run(options: &DiskOptions) -> Result<ExitCode> {
    if let Some(DiskCommand::Usage(options)) = &options.command {
        return usage::run(options);
    }
    let image = options.image.as_ref().context("No image given")?;
    let home = Home::open()?;
    let progress = progress::reporter(options.quiet);
    let wanted = run::Wanted {
        reference: image,
        platform: options.platform.as_ref(),
        pull: options.pull,
        pins: &options.pins,
        disk_size: None,
    };
    let (_, disk) = wanted.get(&home, progress.as_ref())?;
    drop(progress);
    match &options.output {
        None => line!("{}", disk.path().display())?,
        Some(path) => sink::write(path, |sink| {
            match sink {
                Sink::File(file) => disk.copy_to(file)?,
                Sink::Stream(stream) => disk.write_to(stream)?,
            }
            Ok(())
        })?,
    }
    Ok(ExitCode::SUCCESS)
}
