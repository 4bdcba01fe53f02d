//! `terrarium pull`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use images::{Platform, Reference, Store};

use crate::home::Home;
use crate::output::line;
use crate::pins::PinOptions;
use crate::platform::Choice;
use crate::progress;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  terrarium pull python:2.7.16-alpine3.9
  terrarium pull --platform linux/386 python:2.7.16-alpine3.9
  terrarium pull localhost:5000/tools@sha256:…")]
pub struct PullOptions {
    /// Platform of the image, such as linux/amd64; the best that runs here if absent
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,

    #[command(flatten)]
    pins: PinOptions,

    /// No progress
    #[arg(short, long)]
    quiet: bool,

    /// The image, such as python:2.7.16-alpine3.9
    image: Reference,
}

pub fn run(options: &PullOptions) -> Result<ExitCode> {
    let home = Home::open()?;
    let store = Store::open(&home.images())?;
    let choice = Choice::new(options.platform.as_ref(), &home);
    let pins = options.pins.pull_options(&options.image)?;
    let progress = progress::reporter(options.quiet);
    let image =
        choice.fetch(|platform| store.pull(&options.image, platform, &pins, progress.as_ref()))?;
    drop(progress);
    options.pins.record(&image)?;
    line!("{}", image.reference)?;
    Ok(ExitCode::SUCCESS)
}
