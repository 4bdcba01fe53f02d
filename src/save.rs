//! `terrarium save`.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::Args;
use images::{Image, Platform, Reference, Store};

use crate::home::Home;
use crate::platform::Choice;
use crate::sink::{self, Sink};

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  terrarium save -o python.tar python:2.7.16-alpine3.9
  terrarium save python:2.7.16-alpine3.9 | docker load")]
pub struct SaveOptions {
    /// Write here instead of standard output
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = "-",
        hide_default_value = true
    )]
    output: PathBuf,

    /// Platform of the images, such as linux/amd64; the best that runs here if absent
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,

    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<Reference>,
}

pub fn run(options: &SaveOptions) -> Result<ExitCode> {
    let home = Home::open()?;
    let store = Store::open(&home.images())?;
    let choice = Choice::new(options.platform.as_ref(), &home);
    let find = |reference: &Reference| {
        choice.find(&store, reference, |_| true)?.ok_or_else(|| {
            let platform = choice.first();
            anyhow!("{reference} for {platform} is not stored here; get it with `terrarium pull`")
        })
    };
    let images: Vec<Image> = options.images.iter().map(find).collect::<Result<_>>()?;
    sink::write(&options.output, |sink| {
        match sink {
            Sink::Stream(stream) => store.save(&images, stream)?,
            Sink::File(file) => {
                let mut file = BufWriter::new(file);
                store.save(&images, &mut file)?;
                file.flush()?;
            }
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}
