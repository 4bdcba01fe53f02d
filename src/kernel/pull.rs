//! `terrarium kernel pull`.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use kernels::{Arch, Error, Kernel, Repository, Store};

use crate::output::say;

/// Take Alpine's kernel for virtual machines from its repository
#[derive(Args, Debug)]
#[command(after_help = "\
The index is verified with Alpine's signing keys, and the package with the index.
The kernel pulled or imported last is the one that guests boot.

Examples:
  terrarium kernel pull
  terrarium kernel pull --branch v3.23
  terrarium kernel pull --mirror https://mirror.example.org/alpine")]
pub struct PullOptions {
    /// Branch of Alpine, such as v3.23 [default: the newest stable one]
    #[arg(long)]
    branch: Option<String>,

    /// Architecture of the kernel [default: this host's]
    #[arg(long, value_parser = Arch::ALL.map(Arch::name))]
    arch: Option<String>,

    /// URL of the folder that holds Alpine's branches [default: Alpine's own]
    #[arg(long, value_name = "URL", env = MIRROR)]
    mirror: Option<String>,

    /// Trust the public keys in this folder (NAME.rsa.pub) in place of Alpine's
    #[arg(long, value_name = "DIR", env = KEYS)]
    keys: Option<PathBuf>,
}

/// Environment variables that stand for the options of the same name.
const MIRROR: &str = "TERRARIUM_ALPINE_MIRROR";
const KEYS: &str = "TERRARIUM_ALPINE_KEYS";

impl PullOptions {
    /// What the environment says, where there is no command line.
    fn from_environment(arch: Arch) -> Self {
        Self {
            branch: None,
            arch: Some(arch.name().to_owned()),
            mirror: std::env::var(MIRROR).ok(),
            keys: std::env::var_os(KEYS).map(PathBuf::from),
        }
    }

    /// Takes the kernel into the store.
    pub fn pull(&self, store: &Store) -> Result<Kernel> {
        let mut repository = Repository::default();
        if let Some(branch) = &self.branch {
            repository = repository.of_branch(branch);
        }
        if let Some(mirror) = &self.mirror {
            repository = repository.on_mirror(mirror);
        }
        if let Some(keys) = &self.keys {
            repository = repository.signed_by(keys)?;
        }
        let arch = match &self.arch {
            Some(name) => Arch::ALL.into_iter().find(|arch| arch.name() == name),
            None => Arch::host(),
        };
        let arch = arch.ok_or_else(|| anyhow!("No kernel for this host's architecture"))?;
        Ok(store.pull(&repository, arch)?)
    }
}

/// The kernel that guests boot; Alpine's, fetched now, if none is stored yet.
pub fn default_or_pulled(store: &Store, arch: Arch, quiet: bool) -> Result<Kernel> {
    match store.default_for(arch) {
        Err(Error::NoneFor(_)) => {
            if !quiet {
                say!("terrarium: fetching Alpine's kernel for {arch}, once");
            }
            PullOptions::from_environment(arch)
                .pull(store)
                .with_context(|| {
                    format!(
                        "No kernel for {arch} is stored, and Alpine's cannot be had: \
                     see `terrarium kernel import --help` for another way"
                    )
                })
        }
        kernel => Ok(kernel?),
    }
}
