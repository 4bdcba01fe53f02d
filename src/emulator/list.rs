//! `terrarium emulator ls`.

use anyhow::Result;
use kernels::Emulator;
use serde::Serialize;

use crate::table::ListOptions;
use crate::units;

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

/// Prints one line an emulator.
pub fn print(emulators: &[Emulator], options: &ListOptions) -> Result<()> {
    let rows: Vec<Row<'_>> = emulators.iter().map(Row::from).collect();
    options.print(&rows, ["TARGET", "RUNS ON", "SIZE", "SOURCE"], |row| {
        [
            row.target.to_owned(),
            row.host.to_owned(),
            units::bytes(row.bytes),
            row.source.to_owned(),
        ]
    })
}
