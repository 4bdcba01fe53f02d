//! `terrarium load`.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use images::Store;

use crate::home::Home;
use crate::output::line;
use crate::progress;

#[derive(Args, Debug)]
#[command(after_help = "\
FILE is what `docker save` or `skopeo copy` wrote, or an OCI image layout in a tar archive, compressed or
not; DIR is an OCI image layout. Without either, or with -, an archive is read from standard input.

Examples:
  docker save python:2.7.16-alpine3.9 | terrarium load
  terrarium load -i python.tar
  skopeo copy docker://alpine:3.9 oci:alpine:3.9 && terrarium load alpine")]
pub struct LoadOptions {
    /// No progress
    #[arg(short, long)]
    quiet: bool,

    /// The archive, as with docker
    #[arg(short, long, value_name = "FILE", conflicts_with = "path")]
    input: Option<PathBuf>,

    /// The archive or folder
    #[arg(value_name = "FILE|DIR")]
    path: Option<PathBuf>,
}

pub fn run(options: &LoadOptions) -> Result<ExitCode> {
    let store = Store::open(&Home::open()?.images())?;
    let progress = progress::reporter(options.quiet);
    let path = options.input.as_ref().or(options.path.as_ref());
    let images = match path.filter(|path| *path != Path::new("-")) {
        Some(path) => store.load(path, progress.as_ref())?,
        None if io::stdin().is_terminal() => {
            bail!("No archive on standard input: name a file or folder, or redirect one")
        }
        None => store.load_stream(io::stdin(), "standard input", progress.as_ref())?,
    };
    drop(progress);
    for image in images {
        line!("{}", image.reference)?;
    }
    Ok(ExitCode::SUCCESS)
}
