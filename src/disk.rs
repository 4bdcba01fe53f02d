//! `terrarium disk`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use images::{Platform, Reference};

use crate::home::Home;
use crate::output::line;
use crate::pins::PinOptions;
use crate::sink::{self, Sink};
use crate::{progress, run};

/// Build the ext4 disk of an image, for this or any other VMM
#[derive(Args, Debug)]
#[command(after_help = "\
Without --output, the path of the cached disk is printed: read it, but do not write to it. A copy in a
file has holes where the disk is empty; a device or a pipe gets zeros there.

Examples:
  terrarium disk python:2.7.16-alpine3.9
  terrarium disk -o python.ext4 python:2.7.16-alpine3.9")]
pub struct DiskOptions {
    /// Platform of the image, such as linux/amd64; the host's own if absent
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
    image: Reference,
}

pub fn run(options: &DiskOptions) -> Result<ExitCode> {
    let home = Home::open()?;
    let progress = progress::reporter(options.quiet);
    let wanted = run::Wanted {
        reference: &options.image,
        platform: options.platform.as_ref(),
        pull: options.pull,
        pins: &options.pins,
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
