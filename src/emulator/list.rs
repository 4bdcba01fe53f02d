//! `terrarium emulator ls`.

use anyhow::Result;
use clap::Args;
use kernels::Emulator;
use serde::Serialize;

use crate::{output, table, units};

/// List the emulators
#[derive(Args, Debug)]
pub struct ListOptions {
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    target: &'static str,
    host: &'static str,
    bytes: u64,
    sha256: &'a str,
    source: &'a str,
}

impl<'a> From<&'a Emulator> for Row<'a> {
    fn from(emulator: &'a Emulator) -> Self {
        Self {
            target: emulator.target().name(),
            host: emulator.host().name(),
            bytes: emulator.bytes(),
            sha256: emulator.sha256(),
            source: emulator.source(),
        }
    }
}

impl ListOptions {
    /// Prints one line an emulator.
    pub fn print(&self, emulators: &[Emulator]) -> Result<()> {
        let rows: Vec<Row<'_>> = emulators.iter().map(Row::from).collect();
        if self.json {
            return output::json(&rows);
        }
        let lines = rows.iter().map(|row| {
            [
                row.target.to_owned(),
                row.host.to_owned(),
                units::bytes(row.bytes),
                row.source.to_owned(),
            ]
        });
        table::print(["TARGET", "RUNS ON", "SIZE", "SOURCE"], lines)
    }
}
