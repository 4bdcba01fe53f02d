//! `terrarium emulator`.

mod import;
mod list;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use kernels::Emulators;

use crate::home::Home;
use crate::output::line;
use crate::table::ListOptions;

#[derive(Args, Debug)]
pub struct EmulatorOptions {
    #[command(subcommand)]
    command: EmulatorCommand,
}

#[derive(Subcommand, Debug)]
enum EmulatorCommand {
    Import(import::ImportOptions),
    /// List the emulators
    Ls(ListOptions),
    Rm(RemoveOptions),
}

/// Remove an emulator
#[derive(Args, Debug)]
struct RemoveOptions {
    /// What it emulates, as `terrarium emulator ls` names it
    target: String,
}

pub fn run(options: &EmulatorOptions) -> Result<ExitCode> {
    let store = Emulators::open(&Home::open()?.emulators())?;
    match &options.command {
        EmulatorCommand::Import(import) => {
            for emulator in import.import(&store)? {
                line!("{}", emulator.target())?;
            }
        }
        EmulatorCommand::Ls(options) => list::print(&store.list()?, options)?,
        EmulatorCommand::Rm(remove) => store.remove(&remove.target)?,
    }
    Ok(ExitCode::SUCCESS)
}
