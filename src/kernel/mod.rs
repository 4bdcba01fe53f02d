//! `terrarium kernel`.

mod import;
mod inspect;
mod list;
mod pull;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use kernels::Store;

pub use self::pull::default_or_pulled;
use crate::home::Home;
use crate::output::line;
use crate::table::ListOptions;

#[derive(Args, Debug)]
pub struct KernelOptions {
    #[command(subcommand)]
    command: KernelCommand,
}

#[derive(Subcommand, Debug)]
enum KernelCommand {
    Pull(pull::PullOptions),
    Import(import::ImportOptions),
    /// List the kernels
    Ls(ListOptions),
    Inspect(inspect::InspectOptions),
    Rm(RemoveOptions),
}

/// Remove a kernel
#[derive(Args, Debug)]
struct RemoveOptions {
    /// The kernel's id, or the beginning of it
    id: String,
}

pub fn run(options: &KernelOptions) -> Result<ExitCode> {
    let store = Store::open(&Home::open()?.kernels())?;
    match &options.command {
        KernelCommand::Pull(pull) => line!("{}", pull.pull(&store)?.id())?,
        KernelCommand::Import(import) => line!("{}", import.import(&store)?.id())?,
        KernelCommand::Ls(options) => list::print(&store.list()?, options)?,
        KernelCommand::Inspect(inspect) => inspect.print(&store.get(&inspect.id)?)?,
        KernelCommand::Rm(remove) => store.remove(&remove.id)?,
    }
    Ok(ExitCode::SUCCESS)
}
