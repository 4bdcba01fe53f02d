//! `terrarium save`.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use images::{Image, Platform, Reference, Store};

use crate::home::Home;

/// Write images to an archive that docker, skopeo and umoci read
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  terrarium save -o python.tar python:2.7.16-alpine3.9
  terrarium save python:2.7.16-alpine3.9 | docker load")]
pub struct SaveOptions {
    /// Write here instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Platform of the images, such as linux/amd64; the host's own if absent
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,

    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<Reference>,
}

pub fn run(options: &SaveOptions) -> Result<ExitCode> {
    let store = Store::open(&Home::open()?.images())?;
    let platform = options.platform.clone().unwrap_or_else(Platform::host);
    let find = |reference: &Reference| {
        store.find(reference, &platform)?.ok_or_else(|| {
            anyhow!("{reference} for {platform} is not stored here; get it with `terrarium pull`")
        })
    };
    let images: Vec<Image> = options.images.iter().map(find).collect::<Result<_>>()?;
    let Some(path) = &options.output else {
        if io::stdout().is_terminal() {
            bail!("An archive is nothing for a terminal: redirect it, or use -o FILE");
        }
        let mut output = BufWriter::new(io::stdout().lock());
        store.save(&images, &mut output)?;
        output.flush().context("Cannot write standard output")?;
        return Ok(ExitCode::SUCCESS);
    };
    let mut staging = path.clone().into_os_string();
    staging.push(".partial");
    let write = || -> Result<()> {
        let file = File::create(&staging)?;
        let mut output = BufWriter::new(&file);
        store.save(&images, &mut output)?;
        output.flush()?;
        file.sync_all()?;
        std::fs::rename(&staging, path)?;
        Ok(())
    };
    write()
        .inspect_err(|_| {
            // The error at hand says more than a failure to clean up.
            let _ = std::fs::remove_file(&staging);
        })
        .with_context(|| format!("Cannot write {}", path.display()))?;
    Ok(ExitCode::SUCCESS)
}
