//! `--lock` and `--no-pin`: which digest a name must stand for.

use std::env;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use images::{Image, LockFile, PullOptions, Reference, RegistryConfig};

use crate::home::Home;

// Options of every command that may fetch an image. (No doc comment: it would be the text of that command.)
#[derive(Args, Debug, Default)]
pub struct PinOptions {
    /// Take the image by the digest in this lock file; `pull` adds it if it is missing there
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,

    /// Accept another digest than the one published for a known image
    #[arg(long)]
    no_pin: bool,
}

impl PinOptions {
    /// How to pull `reference`. A name that a given lock file lacks is not held to anything.
    pub fn pull_options(&self, reference: &Reference) -> Result<PullOptions> {
        let locked = match &self.lock {
            Some(path) => LockFile::read(path)?.get(reference),
            None => None,
        };
        Ok(PullOptions {
            pinned: !self.no_pin,
            locked,
            registries: RegistryConfig::read(&Home::open()?.registries())?,
            docker_config: docker_config(),
        })
    }

    /// The same, for commands that must not add to the lock file.
    pub fn strict_pull_options(&self, reference: &Reference) -> Result<PullOptions> {
        let options = self.pull_options(reference)?;
        if let Some(path) = &self.lock
            && options.locked.is_none()
        {
            let path = path.display();
            bail!(
                "{reference} is not in {path}; add it with `terrarium pull --lock {path} {reference}`"
            );
        }
        Ok(options)
    }

    /// Adds a pulled image to the lock file, if there is one.
    pub fn record(&self, image: &Image) -> Result<()> {
        if let Some(path) = &self.lock {
            LockFile::read(path)?.lock(&image.reference, image.source)?;
        }
        Ok(())
    }
}

/// Where `docker login` keeps credentials.
fn docker_config() -> Option<PathBuf> {
    let folder = match env::var_os("DOCKER_CONFIG") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env::var_os("HOME")?).join(".docker"),
    };
    Some(folder.join("config.json"))
}
