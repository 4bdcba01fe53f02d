//! `terrarium kernel ls`.

use anyhow::Result;
use clap::Args;
use kernels::Kernel;
use serde::Serialize;

use crate::{output, table};

/// List the kernels
#[derive(Args, Debug)]
pub struct ListOptions {
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
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

impl ListOptions {
    /// Prints one line a kernel.
    pub fn print(&self, kernels: &[Kernel]) -> Result<()> {
        let rows: Vec<Row<'_>> = kernels.iter().map(Row::from).collect();
        if self.json {
            return output::json(&rows);
        }
        table::print(
            ["ID", "VERSION", "ARCH", "SOURCE"],
            rows.iter()
                .map(|row| [row.id, row.version, row.arch, row.source].map(str::to_owned)),
        )
    }
}
