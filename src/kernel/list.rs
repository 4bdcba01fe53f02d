//! `terrarium kernel ls`.

use anyhow::Result;
use kernels::Kernel;
use serde::Serialize;

use crate::table::ListOptions;

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

/// Prints one line a kernel.
pub fn print(kernels: &[Kernel], options: &ListOptions) -> Result<()> {
    let rows: Vec<Row<'_>> = kernels.iter().map(Row::from).collect();
    options.print(&rows, ["ID", "VERSION", "ARCH", "SOURCE"], |row| {
        [row.id, row.version, row.arch, row.source].map(str::to_owned)
    })
}
