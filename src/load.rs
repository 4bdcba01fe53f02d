//! `terrarium load`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use images::Store;

use crate::home::Home;
use crate::output::line;
use crate::progress;

/// Take images from an archive or a folder
#[derive(Args, Debug)]
#[command(after_help = "\
FILE is what `docker save` or `skopeo copy` wrote, or an OCI image layout in a tar archive; DIR is an
OCI image layout.

Examples:
  docker save python:2.7.16-alpine3.9 > python.tar && terrarium load python.tar
  skopeo copy docker://alpine:3.9 oci:alpine:3.9 && terrarium load alpine")]
pub struct LoadOptions {
    /// No progress
    #[arg(short, long)]
    quiet: bool,

    /// The archive or folder
    #[arg(value_name = "FILE|DIR")]
    path: PathBuf,
}

pub fn run(options: &LoadOptions) -> Result<ExitCode> {
    let store = Store::open(&Home::open()?.images())?;
    let progress = progress::reporter(options.quiet);
    let images = store.load(&options.path, progress.as_ref())?;
    drop(progress);
    for image in images {
        line!("{}", image.reference)?;
    }
    Ok(ExitCode::SUCCESS)
}
