//! `terrarium emulator import`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{ArgGroup, Args};
use kernels::{Emulator, Emulators};

/// Take QEMU's emulators of programs from Debian's package, or one from its file
#[derive(Args, Debug)]
#[command(
    group(ArgGroup::new("source").required(true)),
    after_help = "\
Those of the same name that are stored already are replaced.

Examples:
  apt-get download qemu-user-static
  terrarium emulator import --deb qemu-user-static_7.2+dfsg-7+deb12u18_amd64.deb
  terrarium emulator import /usr/bin/qemu-aarch64-static"
)]
pub struct ImportOptions {
    /// A Debian package with qemu-*-static, such as qemu-user-static
    #[arg(long, value_name = "FILE", group = "source")]
    deb: Option<PathBuf>,

    /// A static emulator, named qemu-TARGET or qemu-TARGET-static
    #[arg(value_name = "PATH", group = "source")]
    path: Option<PathBuf>,
}

impl ImportOptions {
    pub fn import(&self, store: &Emulators) -> Result<Vec<Emulator>> {
        Ok(match (&self.deb, &self.path) {
            (Some(package), _) => store.import_deb(package)?,
            (None, Some(path)) => store.import_file(path)?,
            (None, None) => bail!("Nothing to import: give --deb FILE or a path"),
        })
    }
}
