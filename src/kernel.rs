//! `terrarium kernel`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{ArgGroup, Args, Subcommand};
use kernels::{Kernel, Store};
use serde::Serialize;

use crate::home::Home;

/// Keep the kernels that guests boot
#[derive(Args, Debug)]
pub struct KernelOptions {
    #[command(subcommand)]
    command: KernelCommand,
}

#[derive(Subcommand, Debug)]
enum KernelCommand {
    Import(ImportOptions),
    Ls(ListOptions),
    Rm(RemoveOptions),
}

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
struct ImportOptions {
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
    fn import(&self, store: &Store) -> Result<Kernel> {
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

/// List the kernels
#[derive(Args, Debug)]
struct ListOptions {
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
}

/// Remove a kernel
#[derive(Args, Debug)]
struct RemoveOptions {
    /// The kernel's id, or the beginning of it
    id: String,
}

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    version: &'a str,
    arch: &'static str,
    source: &'a str,
}

impl<'a> From<&'a Kernel> for Row<'a> {
    fn from(kernel: &'a Kernel) -> Self {
        Self {
            id: kernel.id(),
            version: kernel.version(),
            arch: kernel.arch().name(),
            source: kernel.source(),
        }
    }
}

pub fn run(options: &KernelOptions) -> Result<ExitCode> {
    let store = Store::open(&Home::open()?.kernels())?;
    match &options.command {
        KernelCommand::Import(import) => {
            println!("{}", import.import(&store)?.id());
        }
        KernelCommand::Ls(list) => print_list(&store.list()?, list.json)?,
        KernelCommand::Rm(remove) => store.remove(&remove.id)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print_list(kernels: &[Kernel], json: bool) -> Result<()> {
    let rows: Vec<Row<'_>> = kernels.iter().map(Row::from).collect();
    if json {
        println!(
            "{}",
            serde_json::to_string_pretty(&rows).context("Cannot encode")?
        );
        return Ok(());
    }
    let widest = |title: &str, cells: &mut dyn Iterator<Item = &str>| {
        cells.map(str::len).chain([title.len()]).max().unwrap_or(0)
    };
    let id = widest("ID", &mut rows.iter().map(|row| row.id));
    let version = widest("VERSION", &mut rows.iter().map(|row| row.version));
    println!("{:id$}  {:version$}  {:8} SOURCE", "ID", "VERSION", "ARCH");
    for row in rows {
        println!(
            "{:id$}  {:version$}  {:8} {}",
            row.id, row.version, row.arch, row.source
        );
    }
    Ok(())
}
