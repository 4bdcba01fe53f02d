//! `terrarium kernel import`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{ArgGroup, Args};
use kernels::{Kernel, Store};

/// Take a kernel from a distribution's package, or from single files
#[derive(Args, Debug)]
#[command(
    group(ArgGroup::new("source").required(true)),
    after_help = "\
The kernel imported last is the one that guests boot.

Examples:
  terrarium kernel import --deb linux-image-6.1.0-40-cloud-amd64_6.1.153-1_amd64.deb
  terrarium kernel import --apk linux-virt-6.18.2-r0.apk
  terrarium kernel import --vmlinuz /boot/vmlinuz-6.1.0 --config /boot/config-6.1.0 \\
      --modules /lib/modules/6.1.0"
)]
pub struct ImportOptions {
    /// A Debian linux-image package
    #[arg(long, value_name = "FILE", group = "source")]
    deb: Option<PathBuf>,

    /// An Alpine linux-* package; its signature is not checked
    #[arg(long, value_name = "FILE", group = "source")]
    apk: Option<PathBuf>,

    /// A kernel: bzImage, vmlinux, or Image
    #[arg(long, value_name = "FILE", group = "source", requires = "config")]
    vmlinuz: Option<PathBuf>,

    /// With --vmlinuz: the folder of its modules, as under /lib/modules
    #[arg(long, value_name = "DIR", requires = "vmlinuz")]
    modules: Option<PathBuf>,

    /// With --vmlinuz: the configuration it was built with
    #[arg(long, value_name = "FILE", requires = "vmlinuz")]
    config: Option<PathBuf>,
}

impl ImportOptions {
    pub fn import(&self, store: &Store) -> Result<Kernel> {
        let kernel = match (&self.deb, &self.apk, &self.vmlinuz, &self.config) {
            (Some(package), ..) => store.import_deb(package),
            (_, Some(package), ..) => store.import_apk(package),
            (_, _, Some(vmlinuz), Some(config)) => {
                store.import_files(vmlinuz, self.modules.as_deref(), config)
            }
            _ => bail!("Nothing to import: give --deb, --apk or --vmlinuz"),
        };
        Ok(kernel?)
    }
}
